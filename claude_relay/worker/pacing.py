"""
The pace of calls for each model family: upstream, limits are pooled by family, and a refused call gains nothing.

Two limits apply, the tighter one counts. The *quota* follows the `anthropic-ratelimit-requests-*` headers: requests
left, and requests that come back per minute. The *window* is the number of calls in flight: small at first, doubled
with every round of answers; after a throttle one call probes, then the window grows to half its former size, and from
there by one per round (slow start and congestion avoidance of TCP, RFC 5681).
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: The window of a family without any answer yet: large enough to be quick, small enough that upstream tolerates it.
FIRST_WINDOW = 4
_UNBOUNDED = 1_000_000
#: A little slower than allowed, as clocks and counters differ.
_SAFETY = 0.98


@dataclass(kw_only=True)
class Quota:
    """
    Requests left, counted here between answers.

    A bucket refills evenly (`per_second`); a fixed window (`per_second` 0) is full again at `reset`, not before.
    """

    limit: int
    left: float
    per_second: float
    at: float
    reset: float

    def now(self, now: float) -> float:
        """Requests left at the time `now`."""
        if self.per_second:
            return min(float(self.limit), self.left + (now - self.at) * self.per_second)

        return float(self.limit) if now >= self.reset else self.left

    def take(self, count: int, now: float) -> None:
        """Use up `count` requests."""
        self.left, self.at = self.now(now) - count, now
        if not self.per_second and now >= self.reset:
            self.reset = now + 60.0

    def next_in(self, now: float) -> float:
        """Seconds until a request is left."""
        missing = 1.0 - self.now(now)
        if missing <= 0:
            return 0.0

        return missing / self.per_second if self.per_second else max(0.0, self.reset - now)


class _Family:
    """Quota and window of one family."""

    def __init__(self) -> None:
        self.quota: Quota | None = None
        self.windowed = False  # whether an answer showed that its limit does not refill evenly
        self.window = float(FIRST_WINDOW)
        self.threshold = float(_UNBOUNDED)
        self.in_flight = 0
        self.exhausted_until = 0.0

    def capacity(self, now: float) -> int:
        if now < self.exhausted_until:
            return 0
        capacity = int(self.window) - self.in_flight
        if self.quota is not None:
            capacity = min(capacity, math.floor(self.quota.now(now) + 1e-9))

        return max(0, capacity)

    def next_in(self, now: float) -> float:
        """Seconds until time alone frees capacity; infinite where only the end of a call does."""
        if now < self.exhausted_until:
            return self.exhausted_until - now
        if self.in_flight >= int(self.window):
            return math.inf

        return self.quota.next_in(now) if self.quota is not None else 0.0


class Pacing:
    """The pace of every family in this worker. `clock` is monotonic, `wall` is the clock of the reset headers."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._families: dict[str, _Family] = {}

    def capacities(self) -> dict[str, int]:
        """Calls that each family seen so far can start now; any other family can start FIRST_WINDOW."""
        with self._lock:
            now = self._clock()
            return {name: family.capacity(now) for name, family in self._families.items()}

    def next_in(self) -> float:
        """Seconds until time alone frees capacity in a family that has none; infinite if it does in no family."""
        with self._lock:
            now = self._clock()
            full = [family for family in self._families.values() if family.capacity(now) == 0]
            return min((family.next_in(now) for family in full), default=math.inf)

    def record_start(self, name: str) -> None:
        """Count a call of that family as in flight, from its claim on."""
        with self._lock:
            family = self._family(name)
            family.in_flight += 1
            if family.quota is not None:
                family.quota.take(1, self._clock())

    def record_limits(
        self,
        name: str,
        *,
        limit: int | None,
        remaining: int | None,
        reset: float | None,
        exhausted_for: float | None = None,
    ) -> None:
        """Apply the headers of an answer: requests per minute, requests left, and the time of a full quota (Unix)."""
        with self._lock:
            now, family = self._clock(), self._family(name)
            if exhausted_for is not None:
                family.exhausted_until = max(family.exhausted_until, now + exhausted_for)
            if limit is None or remaining is None or limit <= 0:
                return
            until = max(0.0, (reset or self._wall()) - self._wall())
            even = limit / 60.0 * _SAFETY
            refill = (limit - remaining) / even
            # A bucket is full once the missing requests have come back; a window at its own time, whatever is missing.
            if reset is not None and abs(until - refill) > 0.25 * refill + 1.5:
                family.windowed = True
            bucket = not family.windowed
            previous = family.quota
            left = float(remaining)
            if previous is not None:
                # Upstream may not have counted the calls in flight yet: never trust it beyond what they allow for.
                left = min(left, max(previous.now(now), left - family.in_flight))
            family.quota = Quota(
                limit=limit, left=left, per_second=even if bucket else 0.0, at=now, reset=now + until + 0.05
            )

    def record_end(self, name: str, *, throttled: bool, well: bool) -> None:
        """Count a call of that family as ended: throttled, well, or neither."""
        with self._lock:
            family = self._family(name)
            if throttled:
                family.threshold = max(1.0, min(family.window, family.in_flight) / 2)
                family.window = 1.0  # one probe, once the pause of the throttle is over
            elif well:
                # Doubles with every round of calls; past the threshold, one more per round.
                step = 1.0 if family.window < family.threshold else 1.0 / family.window
                family.window = min(family.window + step, float(_UNBOUNDED))
            family.in_flight = max(0, family.in_flight - 1)

    @contextlib.contextmanager
    def suspended(self, name: str) -> Iterator[None]:
        """
        Do not count a claimed call for the block, while it fetches files from a server that may be slow.

        It counts again afterwards without asking, so that for a while more calls may run than the window allows: a
        throttle corrects that.
        """
        with self._lock:
            self._family(name).in_flight -= 1
        try:
            yield
        finally:
            with self._lock:
                self._family(name).in_flight += 1

    def _family(self, name: str) -> _Family:
        return self._families.setdefault(name, _Family())
