"""The alert for a store that was removed under the daemons, kept in memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..core import alerts as rules
from ..core import wire
from ..core.alerts import Alert
from ..core.deliveries.delivery import Reply
from ..services import Relay

log = logging.getLogger(__name__)

#: The rescue of a large store takes long: the alert waits for its command for at most this many seconds.
_RESCUE_TIME = 30.0


class LostStoreAlert:
    """Raised once for each loss. The process that rescues the store also sends the alert."""

    def __init__(self, relay: Relay, *, clock: Callable[[], float]) -> None:
        self._relay, self._clock = relay, clock
        self._seen_at: float | None = None
        self._alert: Alert | None = None
        self._attempts, self._due_at = 0, float("inf")

    @property
    def raised(self) -> bool:
        """Whether the store is lost and the alert has been raised."""
        return self._alert is not None

    def check(self) -> bool:
        """Whether the store is lost; raises the alert, and logs when the store is back."""
        found, now = self._relay.alerts.lost_store(), self._clock()
        if found is None:
            if self._seen_at is not None:
                log.warning("the store is back in its place: jobs are accepted again", extra={"alert": "store_gone"})
            self._seen_at = self._alert = None
            self._due_at = float("inf")
            return False
        alert, lost = found
        if self._seen_at is None:
            self._seen_at = now
        if self._alert is None and (lost.settled or not lost.responsible or now - self._seen_at > _RESCUE_TIME):
            self._alert, self._attempts = alert, 0
            log_alert(alert)
        if self._alert is not None and lost.responsible and not self._attempts:
            self._alert, self._due_at = alert, now

        return True

    def take(self) -> bool:
        """Whether the alert is due; this counts as an attempt to send it."""
        if self._clock() < self._due_at:
            return False
        self._attempts += 1
        delay = rules.repeat_at(self._attempts)
        self._due_at = float("inf") if delay is None else self._clock() + delay

        return True

    def send(self, post: Callable[[str, bytes], Reply]) -> None:
        """Send the alert if it is due, with the same id and `since` at every attempt."""
        alert = self._alert
        if alert is None or not self.take():
            return
        reply = post(alert_id(alert), wire.encode(rules.body(alert, now=time.time())))
        if reply.status is not None and 200 <= reply.status < 300:
            self._due_at = float("inf")
        else:
            log.warning("alert not delivered", extra={"statusCode": reply.status, "error": reply.error})


def alert_id(alert: Alert) -> str:
    """The webhook-id of an alert that is not stored."""
    return f"alert_{alert.kind}_{int(alert.since)}"


def log_alert(alert: Alert) -> None:
    """Log a new alert."""
    log.error(
        alert.message,
        extra={"alert": alert.kind, "since": alert.since, "count": alert.count, "command": alert.command},
    )
