"""
Delivery attempts and histograms of this worker for `/metrics`.

They are kept in memory, and added to the store at most every 10 seconds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ..core.metrics import (
    CALL,
    DELIVERY,
    DELIVERY_ATTEMPTS,
    DISK_FREE,
    MAX_NAMES,
    OTHER,
    START,
    Series,
    observation,
)
from ..errors import StoreUnavailable
from ..services import Relay
from .periodic import PeriodicThread

#: Seconds between two reports; a gauge that changed by less than this share is not stored again.
INTERVAL, _CHANGE = 10.0, 0.01


class Meters:
    """Counts deliveries, and how long calls took. A worker that is killed loses those of the last 10 seconds."""

    def __init__(self, relay: Relay, *, disk_free: Callable[[], int] | None = None) -> None:
        self._relay, self._disk_free = relay, disk_free
        self._lock = threading.Lock()
        self._added: Counter[Series] = Counter()
        self._models: set[str] = set()
        self._stored_free = 0.0
        self.loop = PeriodicThread("metrics", self._round)

    def start(self) -> None:
        """Start to report."""
        self.loop.start()

    def stop(self) -> None:
        """Report the rest, and stop."""
        self.loop.stop()
        self.flush()

    def started(self, waited: float) -> None:
        """A job was claimed after it had waited for its turn."""
        self._add(observation(START, "", waited))

    def called(self, model: str, seconds: float) -> None:
        """A live call has ended."""
        with self._lock:
            if model not in self._models and len(self._models) >= MAX_NAMES:
                model = OTHER
            self._models.add(model)
        self._add(observation(CALL, model, seconds))

    def posted(self, outcome: str, since_outcome: float | None = None) -> None:
        """A delivery was tried; `since_outcome`: seconds from the job's end to its delivery, where it was delivered."""
        self._add({(DELIVERY_ATTEMPTS, "", outcome): 1.0})
        if since_outcome is not None:
            self._add(observation(DELIVERY, "", since_outcome))

    def flush(self) -> None:
        """Add what was counted to the store; if that is away it is kept for the next time."""
        with self._lock:
            added, self._added = self._added, Counter()
        gauges = self._gauges()
        if not (added or gauges):
            return
        try:
            self._relay.metrics.report(added, gauges)
        except StoreUnavailable:
            with self._lock:
                self._added.update(added)
            self._stored_free = 0.0

    def _round(self) -> float:
        self.flush()

        return INTERVAL

    def _gauges(self) -> dict[Series, float]:
        try:
            free = float(self._disk_free()) if self._disk_free is not None else 0.0
        except OSError:  # the folder was removed or moved: the alert of the store says so
            return {}
        if abs(free - self._stored_free) <= _CHANGE * self._stored_free:
            return {}
        self._stored_free = free

        return {(DISK_FREE, "", ""): free}

    def _add(self, additions: dict[Series, float]) -> None:
        with self._lock:
            for series, value in additions.items():
                self._added[series] += value  # type: ignore[assignment]
