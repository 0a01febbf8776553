"""Whether there is room for another job: asked at the door, before anything is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..core.policy import Policy
from ..errors import QueueFull, RelayError, StoreUnavailable
from ..ports import Store


class Admission:
    """
    Knows how long the queue is.

    The count is looked up at most once a second and kept up in between, so that a burst does not pay for it: the limit
    may be passed by what other processes accept within that second.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        room: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = room
        self._store = store
        self._limit = policy.max_queue
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._waiting = 0

    def refusal(self, more: int) -> RelayError | None:
        """Why that many more jobs cannot be kept now: the disk is nearly full, or the queue is; None where they can."""
        if (fault := self._room()) is not None:
            return StoreUnavailable(f"The disk {fault}. Nothing is lost; try again later.", retry_after=60)
        with self._lock:
            now = self._clock()
            if now - self._asked_at >= 1.0:
                self._waiting = self._store.read(lambda tx: tx.waiting())
                self._asked_at = now
            if self._waiting + more > self._limit:
                return QueueFull(
                    f"the queue is full: {self._waiting} jobs wait (RELAY_MAX_QUEUE {self._limit}); try again later",
                    retry_after=30,
                )
            self._waiting += more

        return None
