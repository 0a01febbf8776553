"""Alerts: what an operator should hear of, to RELAY_ALERT_URL and the log. Two threads: a slow URL holds nobody up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from ..core.signing import sign
from ..ports import Sender
from ..relay import Relay
from .loops import Loop

log = logging.getLogger(__name__)

#: How often to look for causes, and for what is to be told, in seconds.
EVERY = 2.0
#: Where the fault is on this side, another process is let try for so long, in seconds; and so often.
_STAND_BACK, _IN_VAIN = 60.0, 30


class Alerts:
    """
    Watches, and tells. What was told stands in the store, so that of several processes one does, and none twice.

    A worker has one, and so has the API: somebody must notice that there is no worker.
    """

    def __init__(
        self,
        relay: Relay,
        sender: Sender,
        *,
        url: str | None,
        secrets: tuple[str, ...] = (),
        models: Sequence[tuple[str, str]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay, self._sender, self._url, self._secrets = relay, sender, url, secrets
        self._models, self._clock = models, clock
        self._started_at = clock()
        self._tried_in_vain = 0
        self.watch = Loop("alerts", self._look)
        self._post = Loop("alerts-post", self._tell)

    def start(self) -> None:
        """Watch from now on."""
        self.watch.start()
        if self._url is not None:
            self._post.start()

    def stop(self) -> None:
        """After the present round; what is being told may end by itself."""
        self.watch.stop()
        self._post.stop(timeout=0.1)

    def _look(self) -> float:
        watched_for = self._clock() - self._started_at
        for alert in self._relay.alarms.look(settings=self._models, watched_for=watched_for):
            log.error(
                alert.message,
                extra={"alert": alert.kind, "since": alert.since, "count": alert.count, "command": alert.command},
            )
            self._post.wake()

        return EVERY

    def _tell(self) -> float:
        while self._url is not None and (told := self._relay.alarms.take()) is not None:
            reply = self._sender.post(self._url, told.body, sign(told.id, time.time(), told.body, self._secrets))
            if reply.ours and self._tried_in_vain < _IN_VAIN:
                # A process without a network of its own, as a hardened API is, must not use up another one's tries.
                self._tried_in_vain += 1
                self._relay.alarms.hand_back(told)
                return _STAND_BACK
            self._tried_in_vain = 0
            taken = reply.status is not None and 200 <= reply.status < 300
            again = self._relay.alarms.settle(told, taken=taken)
            if not taken:
                words = {"statusCode": reply.status, "error": reply.error, "tryAgain": again}
                log.warning("alert not delivered", extra=words)

        return EVERY
