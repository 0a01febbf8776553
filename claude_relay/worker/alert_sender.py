"""Alerts: what an operator should hear of, to RELAY_ALERT_URL and the log. Two threads: a slow URL holds nobody up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto

from ..core.deliveries.signing import sign
from ..ports import Sender
from ..services import Relay
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: How often to look for causes, and for what is to be told, in seconds.
EVERY = 2.0
#: Where the fault is on this side, another process is let try for so long, in seconds; and so often.
_STAND_BACK, _IN_VAIN = 60.0, 30
#: Who has only come to tell what is due begins no other try after so many seconds.
_SHORTLY = 60.0
#: Word that an alert waits is left no more often than this, in seconds: each time a process is started for it.
TRIGGER_EVERY = 60.0


class _Went(Enum):
    """How a try to tell ended."""

    TAKEN = auto()
    NOT_TAKEN = auto()
    NOT_FROM_HERE = auto()


class AlertSender:
    """
    Watches, and tells. What was told stands in the store, so that of several processes one does, and none twice.

    A worker has one, and so has the API: somebody must notice that there is no worker. Whoever cannot tell, having no
    `url` or no network, may have a `leave_word` instead: it is called while an alert waits and no worker is there.
    """

    def __init__(
        self,
        relay: Relay,
        sender: Sender,
        *,
        url: str | None,
        leave_word: Callable[[], None] | None = None,
        secrets: tuple[str, ...] = (),
        models: Sequence[tuple[str, str]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay, self._sender, self._url, self._secrets = relay, sender, url, secrets
        self._leave_word, self._models, self._clock = leave_word, models, clock
        self._started_at = clock()
        self._tried_in_vain = 0
        self.watch = PeriodicThread("alerts", self._look)
        self._word_at = float("-inf")
        self._post = PeriodicThread("alerts-post", self._ask if url is None else self._tell)

    def start(self) -> None:
        """Watch from now on."""
        self.watch.start()
        if self._url is not None or self._leave_word is not None:
            self._post.start()

    def stop(self) -> None:
        """After the present round; what is being told may end by itself."""
        self.watch.stop()
        self._post.stop(timeout=0.1)

    def once(self) -> int:
        """Look once, and tell what is due now, for about a minute at most; answers how many were taken."""
        self._look()
        until, taken = self._clock() + _SHORTLY, 0
        while self._clock() < until and (went := self._tell_next()) is not None:
            if went is _Went.NOT_FROM_HERE:
                break
            taken += went is _Went.TAKEN

        return taken

    def _look(self) -> float:
        watched_for = self._clock() - self._started_at
        for alert in self._relay.alerts.evaluate(settings=self._models, watched_for=watched_for):
            log.error(
                alert.message,
                extra={"alert": alert.kind, "since": alert.since, "count": alert.count, "command": alert.command},
            )
            self._post.wake()

        return EVERY

    def _tell(self) -> float:
        while (went := self._tell_next()) is not None:
            if went is _Went.NOT_FROM_HERE:
                return _STAND_BACK

        return EVERY

    def _tell_next(self) -> _Went | None:
        """None: there is nothing to tell now."""
        if self._url is None or (told := self._relay.alerts.claim()) is None:
            return None
        reply = self._sender.post(self._url, told.body, sign(told.id, time.time(), told.body, self._secrets))
        if reply.local_fault and self._tried_in_vain < _IN_VAIN:
            # A process without a network of its own, as a hardened API is, must not use up another one's tries.
            self._tried_in_vain += 1
            self._relay.alerts.release(told)
            return _Went.NOT_FROM_HERE
        self._tried_in_vain = 0
        taken = reply.status is not None and 200 <= reply.status < 300
        again = self._relay.alerts.record_sent(told, taken=taken)
        if not taken:
            words = {"statusCode": reply.status, "error": reply.error, "tryAgain": again}
            log.warning("alert not delivered", extra=words)

        return _Went.TAKEN if taken else _Went.NOT_TAKEN

    def _ask(self) -> float:
        """Of several that wait one word is enough: whoever it calls tells them all."""
        now = self._clock()
        if self._leave_word is not None and now - self._word_at >= TRIGGER_EVERY and self._relay.alerts.has_unsent():
            self._word_at = now
            try:
                self._leave_word()
            except OSError as exc:
                log.warning("no word can be left that an alert waits", extra={"error": str(exc)})

        return EVERY
