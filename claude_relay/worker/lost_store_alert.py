"""The alert for a store that was removed under the daemons, kept in memory."""

from __future__ import annotations

from collections.abc import Callable

from ..services import Relay
from .memory_alert import MemoryAlert
from .open_alert import OpenAlert

#: The rescue of a large store takes long: the alert waits for its command for at most this many seconds.
_RESCUE_TIME = 30.0


class LostStoreAlert(MemoryAlert):
    """Raised once for each loss. The process that rescues the store also sends the alert."""

    def __init__(self, relay: Relay, *, clock: Callable[[], float], kept: OpenAlert | None = None) -> None:
        super().__init__(relay, clock=clock, kept=kept)
        self._seen_at: float | None = None

    def check(self) -> bool:
        """Whether the store is lost; raises the alert, and ends it when the store is back."""
        current, now = self._relay.alerts.lost_store(), self._clock()
        if current is None:
            self._seen_at = None
            self._end()
            return False
        alert, lost = current
        if self._seen_at is None:
            self._seen_at = now
        if self.raised or lost.settled or not lost.responsible or now - self._seen_at > _RESCUE_TIME:
            self._raise(alert, sends=lost.responsible)

        return True
