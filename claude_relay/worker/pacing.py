"""
Concurrency and rate of the calls to each model family, learned from the answers of the upstream.

Limits are pooled upstream by family, and a refused request only costs time. Four bounds apply, the tightest one counts:

- *Unanswered calls.* The upstream has accepted a call when its response headers arrive. Few calls may be without
  headers at first; each acceptance adds one, so that the bound doubles with every round trip (slow start, RFC 5681),
  however long the calls take. As the headers of a long call come after seconds, it has no end until a call is refused.
  Calls beyond the highest number that was ever accepted at once start 10 ms apart: the first call that meets a limit
  is refused, and not dozens.
- *Quota.* The requests that `anthropic-ratelimit-requests-*` says are left, and the rate at which they come back.
- *Concurrency*, *rate* and *window* as the refusals teach them (`learned_limits.py`).
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from .learned_limits import LearnedLimits
from .quota import Quota

#: Calls without response headers that a family may have before any was accepted.
FIRST_WINDOW = 4
#: Most calls without response headers while a rate is unknown, after a refusal until a few were accepted.
_CAREFUL_WINDOW = 2.0
#: Use a little less than the upstream allows: clocks and counters differ.
_MARGIN = 0.98
#: Calls a second beyond the highest number accepted at once, and how many may start together.
_GROWTH, _GROWTH_BURST = 100.0, 4.0


class _Family:
    """The bounds of one family, and its calls in flight."""

    def __init__(self, now: float) -> None:
        self.quota: Quota | None = None
        self.windowed = False  # its quota has been seen not to come back evenly
        self.learned = LearnedLimits()
        self.running = 0
        self.sent: list[float] = []  # when those were sent that are unanswered, in order
        self.window = float(FIRST_WINDOW)  # calls that may be unanswered
        self.peak = FIRST_WINDOW  # accepted at the same time
        self.growth = Quota(limit=int(_GROWTH_BURST), left=_GROWTH_BURST, per_second=_GROWTH, at=now, reset=now)
        self.paused_until = 0.0  # by the token limits of the headers
        self.burst_at = now

    @property
    def unanswered(self) -> int:
        return len(self.sent)

    @property
    def accepted(self) -> int:
        return self.running - self.unanswered

    def room(self, now: float) -> int:
        if now < max(self.paused_until, self.learned.paused_until):
            return 0
        self.learned.grow(now)
        room = min(
            int(self.window) - self.unanswered, max(0, self.peak - self.running) + int(self.growth.available(now))
        )
        if (limit := self.learned.limit(now)) is not None:
            room = min(room, limit - self.running)
        for quota in (self.quota, self.learned.rate):
            if quota is not None:
                room = min(room, math.floor(quota.available(now) + 1e-9))

        return max(0, room)

    def next_in(self, now: float) -> float:
        """Seconds until time alone makes room; `inf` where only an answer or the end of a call does."""
        paused = max(self.paused_until, self.learned.paused_until)
        if now < paused:
            return paused - now
        limit = self.learned.limit(now)
        if self.unanswered >= int(self.window) or (limit is not None and self.running >= limit):
            return math.inf
        waits = [quota.next_in(now) for quota in (self.quota, self.learned.rate) if quota is not None]
        if self.running >= self.peak:
            waits.append(self.growth.next_in(now))

        return max(waits, default=0.0)

    def start(self, now: float) -> None:
        if not self.running:
            self.burst_at = now
        if self.running >= self.peak:
            self.growth.take(1, now)
        self.running += 1
        self.send(now)
        for quota in (self.quota, self.learned.rate):
            if quota is not None:
                quota.take(1, now)

    def send(self, now: float) -> None:
        self.sent.append(now)

    def accept(self, now: float, sent_at: float) -> None:
        self.sent.remove(sent_at)
        self.peak = max(self.peak, self.accepted)
        self.window += 1
        if self.learned.careful:
            self.window = min(self.window, _CAREFUL_WINDOW)
        self.learned.accepted(self.accepted, now, sent_at=sent_at)

    def refuse(self, now: float, sent_at: float, *, wall: float, retry_after: float | None, overloaded: bool) -> None:
        """Called while the refused call still counts as unanswered."""
        self.sent.remove(sent_at)
        self.running -= 1
        if self.learned.is_stale(sent_at):  # the refusal that was counted stands for it
            return
        self.window, self.peak = 1.0, max(1, self.accepted)
        self.growth.left, self.growth.at = 0.0, now
        if overloaded:
            self.learned.overloaded(now, retry_after)
        else:
            self.learned.refused(
                self.sent, self.accepted, now, wall=wall, burst_at=self.burst_at, retry_after=retry_after
            )


class PacedCall:
    """One call of a family, from its claim to its end."""

    def __init__(self, pacing: Pacing, name: str, sent_at: float) -> None:
        self._pacing, self._name, self._sent_at = pacing, name, sent_at
        self._answered = self._ended = False

    def accepted(self) -> None:
        """Its response headers arrived, and they are no refusal."""
        with self._pacing.family(self._name) as (family, now):
            if self._answered or self._ended:
                return
            self._answered = True
            family.accept(now, self._sent_at)
            room = family.room(now)
        if room:
            self._pacing.on_room()

    def refused(self, *, retry_after: float | None = None, overloaded: bool = False) -> float:
        """It was throttled and has ended; returns the seconds for which its family pauses."""
        with self._pacing.family(self._name) as (family, now):
            if not self._ended:
                self._ended = True
                if self._answered:  # throttled in mid-stream
                    self._sent_at = now
                    family.send(now)
                family.refuse(
                    now, self._sent_at, wall=self._pacing.wall(), retry_after=retry_after, overloaded=overloaded
                )

            return max(0.0, family.learned.paused_until - now)

    def ended(self) -> None:
        """It has ended, well or not, and was not throttled. Without effect on a call that was ended before."""
        with self._pacing.family(self._name) as (family, _):
            if self._ended:
                return
            self._ended = True
            family.running -= 1
            if not self._answered:
                family.sent.remove(self._sent_at)

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """For the block the call does not count: its files are fetched, inspected or uploaded, which may be slow."""
        with self._pacing.family(self._name) as (family, _):
            family.running -= 1
            family.sent.remove(self._sent_at)
        try:
            yield
        finally:
            with self._pacing.family(self._name) as (family, now):
                family.running += 1
                family.send(now)
                self._sent_at = now


class Pacing:
    """
    The pace of every family in this worker.

    `clock` is monotonic; `wall` is the clock of rate-limit resets. `on_room` is called when an answer made room.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self.wall = clock, wall
        self.on_room: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._families: dict[str, _Family] = {}

    def capacities(self) -> dict[str, int]:
        """Calls that each known family may start now; an unknown one may start FIRST_WINDOW."""
        with self._lock:
            now = self._clock()
            return {name: family.room(now) for name, family in self._families.items()}

    def next_in(self) -> float:
        """Seconds until a family without room has some again; `inf` where only an answer or an end makes room."""
        with self._lock:
            now = self._clock()
            return min((each.next_in(now) for each in self._families.values() if each.room(now) == 0), default=math.inf)

    def start(self, name: str) -> PacedCall:
        """Count a call that was claimed."""
        with self.family(name) as (family, now):
            family.start(now)

        return PacedCall(self, name, now)

    def record_limits(
        self,
        name: str,
        *,
        limit: int | None,
        remaining: int | None,
        reset: float | None,
        exhausted_for: float | None = None,
    ) -> None:
        """Apply the headers of an answer: requests a minute, how many are left, when all are back (Unix time)."""
        with self.family(name) as (family, now):
            if exhausted_for is not None:
                family.paused_until = max(family.paused_until, now + exhausted_for)
            if limit is None or remaining is None or limit <= 0:
                return
            until = max(0.0, (reset or self.wall()) - self.wall())
            even = limit / 60.0 * _MARGIN
            refill = (limit - remaining) / even
            # A bucket is full after what is missing has come back; a window at its own time, whatever is missing.
            if reset is not None and abs(until - refill) > 0.25 * refill + 1.5:
                family.windowed = True
            bucket = not family.windowed
            current = family.quota
            left = float(remaining)
            if current is not None:
                # Calls on their way may not have been counted there yet: never more than they allow for.
                left = min(left, max(current.available(now), left - family.running))
            family.quota = Quota(
                limit=limit, left=left, per_second=even if bucket else 0.0, at=now, reset=now + until + 0.05
            )

    @contextlib.contextmanager
    def family(self, name: str) -> Iterator[tuple[_Family, float]]:
        """The state of a family under the lock, and the time."""
        with self._lock:
            now = self._clock()
            if name not in self._families:
                self._families[name] = _Family(now)
            yield self._families[name], now
