"""Admission control: refuses new jobs while the disk is nearly full, the queue is full, or the relay is drained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..core.policy import Policy
from ..errors import Draining, QueueFull, RelayError, StoreUnavailable
from ..ports import ReadTransaction, Store
from .holds import load_holds
from .transactions import query

#: The queue is counted at most this often, in seconds.
_COUNT_EVERY = 1.0


class Admission:
    """
    Keeps the length of the queue.

    The queue is counted at most once a second, and each accepted job is added in between, so that a burst does not pay
    for counting: other processes may exceed the limit by what they accept within that second.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        disk_problem: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk_problem = disk_problem
        self._store = store
        self._limit = policy.max_queue
        self._clock = clock
        self._lock = threading.Lock()
        self._counted_at = float("-inf")
        self._waiting = 0
        self._draining = False

    def recheck(self) -> None:
        """Look at the queue again before the next job: it has begun or ended to drain."""
        with self._lock:
            self._counted_at = float("-inf")

    def refusal(self, count: int) -> RelayError | None:
        """The reason why that many more jobs cannot be stored now (disk or queue full, drained), or None."""
        if (problem := self._disk_problem()) is not None:
            return StoreUnavailable(f"The disk {problem}. Nothing is lost; try again later.", retry_after=60)
        with self._lock:
            now = self._clock()
            if now - self._counted_at >= _COUNT_EVERY:
                self._waiting, self._draining = self._read_queue()
                self._counted_at = now
            if self._draining:
                return Draining()
            if self._waiting + count > self._limit:
                return QueueFull(
                    f"the queue is full: {self._waiting} jobs wait (RELAY_MAX_QUEUE {self._limit}); try again later",
                    retry_after=30,
                )
            self._waiting += count

        return None

    @query
    def _read_queue(self, tx: ReadTransaction) -> tuple[int, bool]:
        return tx.waiting(), load_holds(tx).draining
