"""Alerts for the operator, sent to RELAY_ALERT_URL and the log. Two threads, so that a slow URL delays no check."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any

from ..core.deliveries.delivery import Reply
from ..core.deliveries.signing import sign
from ..errors import StoreUnavailable
from ..ports import Sender
from ..services import Relay
from .away_store_alert import AwayStoreAlert
from .lost_store_alert import LostStoreAlert
from .memory_alert import MemoryAlert, end_left_open, log_alert
from .open_alert import OpenAlert
from .outage import STORE
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: Seconds between two evaluations of the alert rules, and between two checks for unsent alerts.
EVERY = 2.0
#: After a local fault, leave the sending to another process for this many seconds; after this many faults, no longer.
_BACKOFF, _MAX_LOCAL_FAULTS = 60.0, 30
#: `once` starts no further attempt after this many seconds.
_ONCE_TIME_LIMIT = 60.0
#: Least seconds between two triggers for unsent alerts: each starts a process.
TRIGGER_EVERY = 60.0


class _SendResult(Enum):
    """The result of an attempt to send an alert."""

    ACCEPTED = auto()
    REJECTED = auto()
    LOCAL_FAULT = auto()


class AlertSender:
    """
    Evaluates alerts and sends them. Sent alerts are recorded in the store, so that one of several processes sends each.

    A worker has one, and so has the API, which must notice that no worker is alive. A process that cannot send, for
    want of a `url` or a network, may have `trigger` instead: it is called while an alert waits and no worker is
    alive, with the beginning of an outage of the store. `folder` is that of this machine's own state.
    """

    def __init__(
        self,
        relay: Relay,
        sender: Sender,
        *,
        url: str | None,
        trigger: Callable[[float | None], None] | None = None,
        secrets: tuple[str, ...] = (),
        models: Sequence[tuple[str, str]] = (),
        worker: str | None = None,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay, self._sender, self._url, self.secrets = relay, sender, url, secrets
        self._trigger, self._models, self._clock = trigger, models, clock
        self._started_at = clock()
        self._local_faults = 0
        self._kept = OpenAlert(folder)
        self._lost_store = LostStoreAlert(relay, clock=clock, kept=self._kept)
        self._away_store = AwayStoreAlert(relay, worker=worker, clock=clock, kept=self._kept)
        self.watch = PeriodicThread("alerts", self._evaluate)
        self._triggered_at = float("-inf")
        self._sending = PeriodicThread("alerts-post", self._trigger_sending if url is None else self._send_due)

    def start(self) -> None:
        """Start to evaluate, and to send where that is possible."""
        self.watch.start()
        if self._url is not None or self._trigger is not None:
            self._sending.start()

    def stop(self) -> None:
        """Stop after the current evaluation; a POST in flight is not waited for."""
        self.watch.stop()
        self._sending.stop(timeout=0.1)

    def once(self) -> int:
        """Evaluate once and send due alerts, for about a minute at most; returns the number accepted."""
        self._evaluate()
        give_up_at, accepted = self._clock() + _ONCE_TIME_LIMIT, 0
        while self._clock() < give_up_at and (result := self._send_next()) is not None:
            if result is _SendResult.LOCAL_FAULT:
                break
            accepted += result is _SendResult.ACCEPTED

        return accepted

    def _evaluate(self) -> float:
        if self._lost_store.check():
            self._sending.wake()
            return EVERY
        watched_for = self._clock() - self._started_at
        try:
            new = self._relay.alerts.evaluate(
                settings=self._models, watched_for=watched_for, on_resolved=self._on_resolved
            )
            self._away_store.answered()
            end_left_open(self._relay, self._kept)
        except StoreUnavailable as exc:
            STORE.failed(exc)
            self._away_store.failed(str(exc))
            return EVERY
        STORE.ended()
        for alert in new:
            log_alert(alert)
            self._sending.wake()

        return EVERY

    def _on_resolved(self, notice: Mapping[str, Any]) -> None:
        log.warning(notice["message"], extra={"alert": notice["alert"], "cause": notice["cause"]})
        self._sending.wake()

    @property
    def _in_memory(self) -> MemoryAlert | None:
        """The alert for a store that is lost or away: then there are no others to send."""
        return next((alert for alert in (self._lost_store, self._away_store) if alert.raised), None)

    def _send_due(self) -> float:
        if (alert := self._in_memory) is not None:
            alert.send(self._post)
            return EVERY
        while (result := self._send_next()) is not None:
            if result is _SendResult.LOCAL_FAULT:
                return _BACKOFF

        return EVERY

    def _send_next(self) -> _SendResult | None:
        """Send the next due alert; None if there is none."""
        if self._url is None or (alert := self._relay.alerts.claim()) is None:
            return None
        reply = self._post(alert.id, alert.body)
        if reply.local_fault and self._local_faults < _MAX_LOCAL_FAULTS:
            # A process without a network, such as a hardened API, must not use up the attempts of the others.
            self._local_faults += 1
            self._relay.alerts.release(alert)
            return _SendResult.LOCAL_FAULT
        self._local_faults = 0
        accepted = reply.status is not None and 200 <= reply.status < 300
        retry = self._relay.alerts.record_sent(alert, taken=accepted)
        if not accepted:
            fields = {"statusCode": reply.status, "error": reply.error, "tryAgain": retry}
            log.warning("alert not delivered", extra=fields)

        return _SendResult.ACCEPTED if accepted else _SendResult.REJECTED

    def _post(self, name: str, body: bytes) -> Reply:
        assert self._url is not None  # by the caller

        return self._sender.post(self._url, body, sign(name, time.time(), body, self.secrets))

    def _trigger_sending(self) -> float:
        """Have another process send; one trigger is enough, as that process sends every alert."""
        now = self._clock()
        if self._trigger is not None and now - self._triggered_at >= TRIGGER_EVERY and self._has_unsent():
            self._triggered_at = now
            alert = self._in_memory
            try:
                self._trigger(None if alert is None else alert.since)
            except OSError as exc:
                if alert is not None:
                    alert.give_back()
                log.warning("the alert sender could not be triggered", extra={"error": str(exc)})

        return EVERY

    def _has_unsent(self) -> bool:
        if (alert := self._in_memory) is not None:
            return alert.take()

        return self._relay.alerts.has_unsent()
