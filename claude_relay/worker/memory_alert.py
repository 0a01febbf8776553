"""Alerts about the store itself, kept in memory; the notice of their end is stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..core import alerts as rules
from ..core import wire
from ..core.alerts import Alert
from ..core.deliveries.delivery import Reply
from ..services import Relay
from .open_alert import OpenAlert

log = logging.getLogger(__name__)


class MemoryAlert:
    """At most one alert, sent by this process with the same id and `since` at every attempt."""

    def __init__(self, relay: Relay, *, clock: Callable[[], float], kept: OpenAlert | None = None) -> None:
        self._relay, self._clock = relay, clock
        self._kept = kept or OpenAlert(None)
        self._alert: Alert | None = None
        self._sends = False
        self._attempts, self._due_at = 0, float("inf")

    @property
    def raised(self) -> bool:
        """Whether the alert has been raised, and its cause has not ended."""
        return self._alert is not None

    @property
    def since(self) -> float | None:
        """The beginning of its cause, while it is raised."""
        return None if self._alert is None else self._alert.since

    def take(self) -> bool:
        """Whether the alert is due; this counts as an attempt to send it."""
        if self._clock() < self._due_at:
            return False
        self._attempts += 1
        delay = rules.repeat_at(self._attempts)
        self._due_at = float("inf") if delay is None else self._clock() + delay

        return True

    def give_back(self) -> None:
        """Return the last attempt: nothing was sent."""
        self._attempts, self._due_at = self._attempts - 1, self._clock()

    def send(self, post: Callable[[str, bytes], Reply]) -> None:
        """Send the alert if it is due."""
        alert = self._alert
        if alert is None or not self.take():
            return
        reply = post(alert_id(alert), wire.encode(rules.body(alert, now=time.time())))
        if reply.status is not None and 200 <= reply.status < 300:
            self._due_at = float("inf")
        else:
            log.warning("alert not delivered", extra={"statusCode": reply.status, "error": reply.error})

    def _raise(self, alert: Alert, *, sends: bool) -> None:
        """Log the alert once; send it from here if `sends`, which may change until it was sent."""
        if self._alert is None:
            log_alert(alert)
            self._attempts = 0
        elif self._attempts or self._sends == sends:
            return
        self._alert, self._sends = alert, sends
        if sends:
            self._due_at = self._clock()
            self._kept.write(alert)

    def _end(self) -> None:
        """Log the end of the cause, and store its notice: whichever process can send it does."""
        alert, self._alert, self._due_at = self._alert, None, float("inf")
        if alert is None:
            return
        log_resolved(alert)
        if self._sends and self._attempts:  # one that was never sent has no end to tell
            self._relay.alerts.record_end(alert, alert_id(alert))
        self._kept.take()
        self._sends = False


def end_left_open(relay: Relay, kept: OpenAlert) -> None:
    """Log the end of an alert whose process has ended before its cause, and store its notice."""
    if (alert := kept.take()) is not None:
        log_resolved(alert)
        relay.alerts.record_end(alert, alert_id(alert))


def alert_id(alert: Alert) -> str:
    """The webhook-id of an alert that is not stored."""
    return f"alert_{alert.kind}_{int(alert.since)}"


def log_alert(alert: Alert) -> None:
    """Log a new alert."""
    log.error(
        alert.message,
        extra={"alert": alert.kind, "since": alert.since, "count": alert.count, "command": alert.command},
    )


def log_resolved(alert: Alert) -> None:
    """Log that the cause of an alert has ended."""
    log.warning(rules.ENDED[alert.kind], extra={"alert": alert.kind, "cause": alert.cause, "since": alert.since})
