"""
How fast each model family may be asked: limits are pooled upstream by family, and a refusal helps nobody.

Two brakes, the tighter one counts. The *quota* follows what `anthropic-ratelimit-requests-*` says: so many requests are
left, and so many come back a minute. The *window* is how many calls may run at once: small at first, doubled with every
round of answers; after a throttle one call probes, then it grows to half of what it was, and from there by one a round
(slow start and congestion avoidance of TCP, RFC 5681).
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: Before anything is known of a family. Enough to be quick, few enough to be forgiven.
FIRST_WINDOW = 4
_UNBOUNDED = 1_000_000
#: A little slower than allowed: clocks and counters differ.
_CARE = 0.98


@dataclass(kw_only=True)
class Quota:
    """
    Requests left, as we count them between answers.

    A bucket refills evenly (`per_second`); a fixed window (`per_second` 0) is whole again at `reset` and not before.
    """

    limit: int
    left: float
    per_second: float
    at: float
    reset: float

    def now(self, now: float) -> float:
        """What is left by now."""
        if self.per_second:
            return min(float(self.limit), self.left + (now - self.at) * self.per_second)

        return float(self.limit) if now >= self.reset else self.left

    def take(self, count: int, now: float) -> None:
        """Use some up."""
        self.left, self.at = self.now(now) - count, now
        if not self.per_second and now >= self.reset:
            self.reset = now + 60.0

    def next_in(self, now: float) -> float:
        """Seconds until one more is there."""
        missing = 1.0 - self.now(now)
        if missing <= 0:
            return 0.0

        return missing / self.per_second if self.per_second else max(0.0, self.reset - now)


class _Family:
    """What is known of one family."""

    def __init__(self) -> None:
        self.quota: Quota | None = None
        self.windowed = False  # its limit has been seen not to come back evenly
        self.window = float(FIRST_WINDOW)
        self.threshold = float(_UNBOUNDED)
        self.flying = 0
        self.held_until = 0.0

    def room(self, now: float) -> int:
        if now < self.held_until:
            return 0
        room = int(self.window) - self.flying
        if self.quota is not None:
            room = min(room, math.floor(self.quota.now(now) + 1e-9))

        return max(0, room)

    def next_in(self, now: float) -> float:
        """Seconds until there is room that time alone brings; endless where only an ended call brings it."""
        if now < self.held_until:
            return self.held_until - now
        if self.flying >= int(self.window):
            return math.inf

        return self.quota.next_in(now) if self.quota is not None else 0.0


class Pacing:
    """Every family's pace in this worker. `clock` is monotonic, `wall` is what resets are told in."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._families: dict[str, _Family] = {}

    def capacities(self) -> dict[str, int]:
        """How many more calls each known family takes now; another takes FIRST_WINDOW."""
        with self._lock:
            now = self._clock()
            return {name: family.room(now) for name, family in self._families.items()}

    def next_in(self) -> float:
        """Seconds until a family that is out of room has some again, as far as time brings it."""
        with self._lock:
            now = self._clock()
            return min((one.next_in(now) for one in self._families.values() if one.room(now) == 0), default=math.inf)

    def record_start(self, name: str) -> None:
        """A call of that family was claimed."""
        with self._lock:
            family = self._family(name)
            family.flying += 1
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
        """What an answer's headers say: requests a minute, how many are left, when it is whole again (Unix time)."""
        with self._lock:
            now, family = self._clock(), self._family(name)
            if exhausted_for is not None:
                family.held_until = max(family.held_until, now + exhausted_for)
            if limit is None or remaining is None or limit <= 0:
                return
            until = max(0.0, (reset or self._wall()) - self._wall())
            even = limit / 60.0 * _CARE
            refill = (limit - remaining) / even
            # A bucket is whole after what is missing has come back; a window at its own time, whatever is missing.
            if reset is not None and abs(until - refill) > 0.25 * refill + 1.5:
                family.windowed = True
            bucket = not family.windowed
            known = family.quota
            left = float(remaining)
            if known is not None:
                # Calls that are on their way may not have been counted there yet: never more than they allow for.
                left = min(left, max(known.now(now), left - family.flying))
            family.quota = Quota(
                limit=limit, left=left, per_second=even if bucket else 0.0, at=now, reset=now + until + 0.05
            )

    def record_end(self, name: str, *, throttled: bool, well: bool) -> None:
        """A call of that family is over."""
        with self._lock:
            family = self._family(name)
            if throttled:
                family.threshold = max(1.0, min(family.window, family.flying) / 2)
                family.window = 1.0  # one probe, once the pause that came with it is over
            elif well:
                # Doubling with every round of calls, past the threshold one more a round.
                step = 1.0 if family.window < family.threshold else 1.0 / family.window
                family.window = min(family.window + step, float(_UNBOUNDED))
            family.flying = max(0, family.flying - 1)

    @contextlib.contextmanager
    def record_throttle(self, name: str) -> Iterator[None]:
        """
        For the block, a call that was claimed takes no room: it fetches files first, from whoever is slow.

        It comes back without asking, so that for a while more may run than the window has: a throttle mends that.
        """
        with self._lock:
            self._family(name).flying -= 1
        try:
            yield
        finally:
            with self._lock:
                self._family(name).flying += 1

    def _family(self, name: str) -> _Family:
        return self._families.setdefault(name, _Family())
