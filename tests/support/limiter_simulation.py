"""A discrete-event simulation of one worker against upstreams with limits of every kind; seeded, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

from claude_relay.worker.pacing import FIRST_WINDOW, PacedCall, Pacing

_EPOCH = 60_013.0  # the wall clock begins 13 seconds after a full minute


class Upstream:
    """Accepts everything."""

    overloaded = False

    def ask(self, now: float) -> tuple[bool, float | None]:
        """Whether a request is accepted, else its Retry-After."""
        return True, None

    def finish(self) -> None:
        """An accepted call has ended."""

    def shortest(self, jobs: int, seconds: float, slots: int) -> float:
        """The time that the limit permits for a backlog."""
        return jobs / slots * seconds


@dataclass
class TokenBucket(Upstream):
    """N requests a minute, refilled evenly."""

    limit: int
    retry_after: bool = True
    left: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.left = float(self.limit)

    def ask(self, now: float) -> tuple[bool, float | None]:
        self.left = min(float(self.limit), self.left + (now - self.at) * self.limit / 60)
        self.at = now
        if self.left < 1:
            return False, max(1.0, (1 - self.left) * 60 / self.limit) if self.retry_after else None
        self.left -= 1
        return True, None

    def shortest(self, jobs: int, seconds: float, slots: int) -> float:
        return max((jobs - self.limit) * 60 / self.limit + seconds, super().shortest(jobs, seconds, slots))


@dataclass
class FixedWindow(Upstream):
    """N requests in each minute; the first minute has 40 seconds left."""

    limit: int
    retry_after: bool = True
    window: float = -1.0
    used: int = 0
    offset: float = 20.0

    def ask(self, now: float) -> tuple[bool, float | None]:
        window = (now + self.offset) // 60
        if window != self.window:
            self.window, self.used = window, 0
        if self.used >= self.limit:
            return False, (window + 1) * 60 - self.offset - now if self.retry_after else None
        self.used += 1
        return True, None

    def shortest(self, jobs: int, seconds: float, slots: int) -> float:
        windows = -(-jobs // self.limit) - 1
        last = max(seconds, (jobs - windows * self.limit) / slots * seconds)
        return max(windows * 60 - self.offset + last, super().shortest(jobs, seconds, slots))


@dataclass
class AtOnce(Upstream):
    """At most N calls at the same time."""

    limit: int
    retry_after: bool = False
    running: int = 0

    def ask(self, now: float) -> tuple[bool, float | None]:
        if self.running >= self.limit:
            return False, 1.0 if self.retry_after else None
        self.running += 1
        return True, None

    def finish(self) -> None:
        self.running -= 1

    def shortest(self, jobs: int, seconds: float, slots: int) -> float:
        return jobs / min(self.limit, slots) * seconds


@dataclass
class Storm(Upstream):
    """Answers 529 from one time to another."""

    begins: float
    ends: float
    overloaded = True

    def ask(self, now: float) -> tuple[bool, float | None]:
        return not self.begins <= now < self.ends, None

    def shortest(self, jobs: int, seconds: float, slots: int) -> float:
        return super().shortest(jobs, seconds, slots) + self.ends - self.begins


@dataclass(frozen=True)
class Run:
    """`seconds` until the backlog was done, requests `refused`, and when each call was accepted."""

    seconds: float
    refused: int
    accepted_at: list[float]


def simulate(
    upstream: Upstream,
    *,
    jobs: int,
    seconds: float,
    slots: int,
    headers_after: float = 0.0,
    round_trip: float = 0.005,
    seed: int = 7,
) -> Run:
    """
    Run a backlog of `jobs` calls through `slots` slots: about `seconds` each once their headers have arrived.

    Those of an accepted call come about `headers_after` seconds later than a refusal, which needs no model. A refused
    job is due again after its Retry-After, or 2 to 4 seconds, as `core.jobs.transitions` decides.
    """
    clock, rng, order = [0.0], random.Random(seed), itertools.count()
    pacing = Pacing(clock=lambda: clock[0], wall=lambda: _EPOCH + clock[0])
    events: list[tuple[float, int, str, PacedCall, float | None]] = []
    delayed: list[float] = []
    queued, running, ended, refused, accepted_at = jobs, 0, 0, 0, []

    def later(delay: float, kind: str, call: PacedCall, retry_after: float | None = None) -> None:
        heapq.heappush(events, (clock[0] + delay, next(order), kind, call, retry_after))

    while ended < jobs:
        now = clock[0]
        assert now < 36_000, "the backlog is never done"
        while delayed and delayed[0] <= now:
            heapq.heappop(delayed)
            queued += 1
        for _ in range(min(pacing.capacities().get("opus", FIRST_WINDOW), slots - running, queued)):
            queued, running = queued - 1, running + 1
            later(round_trip * rng.uniform(0.4, 0.6), "arrives", pacing.start("opus"))
        wake = now + max(0.01, min(1.0, pacing.next_in())) if queued else now + 1.0
        if delayed:
            wake = min(wake, max(delayed[0], now + 1e-6))
        if not events or events[0][0] > wake:
            clock[0] = wake
            continue
        clock[0], _, kind, call, retry_after = heapq.heappop(events)
        if kind == "arrives":
            accepted, retry_after = upstream.ask(clock[0])
            back = round_trip * rng.uniform(0.4, 0.6)
            if accepted:
                headers = back + headers_after * rng.uniform(0.5, 1.5)
                later(headers, "accepted", call)
                later(headers + seconds * rng.uniform(0.7, 1.3), "ends", call)
            else:
                later(back, "refused", call, retry_after)
        elif kind == "accepted":
            accepted_at.append(clock[0])
            call.accepted()
        elif kind == "refused":
            refused, running = refused + 1, running - 1
            call.refused(retry_after=retry_after, overloaded=upstream.overloaded)
            heapq.heappush(delayed, clock[0] + (rng.uniform(2.0, 4.0) if retry_after is None else retry_after))
        else:
            call.ended()
            upstream.finish()
            running, ended = running - 1, ended + 1

    return Run(clock[0], refused, accepted_at)
