"""Admission control: no new jobs while the disk, the queue or a caller's share is full, or the relay drains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.jobs.fairness import queue_share
from ..errors import Draining, QueueFull, RelayError, StoreUnavailable
from .holds import load_holds
from .transactions import query

if TYPE_CHECKING:
    from ..core.policy import Policy
    from ..ports import ReadTransaction, Store

#: The queue is counted at most this often, in seconds.
_COUNT_EVERY = 1.0


class Admission:
    """
    Keeps the length of the queue.

    A full queue takes jobs of the keys that have less than their share of it: one key alone may fill it, and leaves
    room for others all the same.

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
        self._shares_at = float("-inf")
        self._by_owner: dict[str, int] = {}
        self._weights: dict[str, float] = {}

    def recheck(self) -> None:
        """Look at the queue again before the next job: it has begun or ended to drain."""
        with self._lock:
            self._counted_at = float("-inf")

    def refusal(self, count: int, owner: str) -> RelayError | None:
        """The reason why that many more jobs of this owner cannot be stored now, or None."""
        if (problem := self._disk_problem()) is not None:
            return StoreUnavailable(f"The disk {problem}. Nothing is lost; try again later.", retry_after=60)
        with self._lock:
            now = self._clock()
            if now - self._counted_at >= _COUNT_EVERY:
                self._waiting, self._draining = self._read_queue()
                self._counted_at = now
            if self._draining:
                return Draining()
            if self._waiting + count > self._limit and (full := self._over_share(count, owner, now)) is not None:
                return full
            self._waiting += count
            self._by_owner[owner] = self._by_owner.get(owner, 0) + count

        return None

    def _over_share(self, count: int, owner: str, now: float) -> QueueFull | None:
        if now - self._shares_at >= _COUNT_EVERY:
            self._by_owner, self._weights = self._count_by_owner()
            self._shares_at = now
        own = self._by_owner.get(owner, 0)
        share = queue_share(self._limit, owner, self._by_owner, self._weights)
        if own + count <= share:
            return None

        fault = "the queue is full" if count == 1 else f"the queue has no room for {count:,} more jobs"
        return QueueFull(
            f"{fault}: {self._waiting} jobs wait (RELAY_MAX_QUEUE {self._limit}), {own} of them of this key, "
            f"whose share is {share}; try again later",
            retry_after=30,
        )

    @query
    def _read_queue(self, tx: ReadTransaction) -> tuple[int, bool]:
        return tx.waiting(), load_holds(tx).draining

    @query
    def _count_by_owner(self, tx: ReadTransaction) -> tuple[dict[str, int], dict[str, float]]:
        return tx.waiting_by_owner(), {key.name: key.weight for key in tx.api_keys()}
