"""Detection of leases that are no longer renewed, by the monotonic clock of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable


class StaleLeaseDetector:
    """
    Finds leases whose expiry has not moved for the length of a lease.

    Only the time that this process has watched counts, and no two clocks are compared: neither a clock that jumps nor
    one that is wrong takes a job from a living worker. Nor does a pause of the whole machine, or an unavailable store:
    between two checks at most a quarter of a lease is counted, which is how long a living worker takes to renew.
    """

    def __init__(self, lease: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._checked_at = clock()
        self._watched: dict[Hashable, tuple[float, float]] = {}  # by token: expires_at, seconds without a change

    def stale(self, leases: Iterable[tuple[Hashable, float]]) -> set[Hashable]:
        """Tokens of the stale leases, given (token, expires_at) of every current lease."""
        now = self._clock()
        passed, self._checked_at = min(now - self._checked_at, self._lease / 4), now
        watched = {}
        for token, expires_at in leases:
            previous = self._watched.get(token)
            unchanged = previous[1] + passed if previous is not None and previous[0] == expires_at else 0.0
            watched[token] = (expires_at, unchanged)
        self._watched = watched

        return {token for token, (_, unchanged) in watched.items() if unchanged >= self._lease}

    @property
    def doubtful(self) -> bool:
        """Whether a lease has not moved for half its length: its worker is dead, or cannot write."""
        return any(unchanged >= self._lease / 2 for _, unchanged in self._watched.values())

    def start_over(self) -> None:
        """Discard all observations: while the store cannot be written, no worker can renew."""
        self._watched.clear()
