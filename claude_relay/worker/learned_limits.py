"""Limits of an upstream that it does not announce: learned from the requests that it refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .quota import Quota

#: Use a little less than the upstream allows: clocks and counters differ.
_MARGIN = 0.98
#: Pause after a refusal without Retry-After, in seconds; doubled while nothing is accepted.
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: Longest pause between two probes of an overloaded upstream, in seconds.
_LONGEST_OVERLOAD = 8.0
#: Accepted calls between two refusals that make their rate good enough to be kept to.
_ENOUGH = 12
#: Seconds before one call more than the learned concurrency is tried; six times as many when it is refused.
_RAISE_AFTER, _LONGEST_RAISE = 10.0, 3600.0
#: Seconds without a refusal after which everything learned is forgotten.
_FORGET = 600.0
#: Seconds without an acceptance that no bucket of many requests a minute explains.
_DRY = 8.0
#: The learned rate grows after so many seconds and accepted calls without a refusal, each time twice as much.
_RATE_PERIOD, _RATE_CALLS = 5.0, 20


class LearnedLimits:
    """
    The allowance of a family, learned from refusals: a concurrency, a rate, or a window.

    The first refusal suggests a concurrency. A refusal with fewer calls in flight, or one more call that is accepted,
    disproves it. From then on the calls accepted between two refusals give the rate. Where nothing is accepted for a
    while and then many are, they are a window's.
    """

    def __init__(self) -> None:
        self.concurrency: int | None = None
        self.rate: Quota | None = None
        self.paused_until = 0.0
        self._pause = _PAUSE
        self._raise_at, self._raise_after = math.inf, _RAISE_AFTER
        self._step = 1
        self._disproved = False  # that a concurrency is the limit
        self._first_at = self._last_at = -math.inf  # refusals that belong together
        self._dry_at = -math.inf  # the first refusal after which nothing was accepted
        self._accepted = self._accepted_since_last = 0
        self._resumed_at: float | None = None  # when the first call was sent that was accepted since the last refusal
        self._dry_for = 0.0  # seconds from then until the last refusal, or as upstream says
        self._grown_at, self._grown_with, self._growth = 0.0, 0, 1.0

    @property
    def careful(self) -> bool:
        """The limit is one of requests a minute, and the rate is not known yet."""
        return self._disproved and self.rate is None and self._accepted_since_last < 8

    def is_stale(self, sent_at: float) -> bool:
        """Whether a call was sent before the last refusal was known, or in the pause after it."""
        return sent_at < self.paused_until

    def accepted(self, in_flight: int, now: float, *, sent_at: float) -> None:
        """A call was accepted as one of `in_flight` accepted ones."""
        if self.is_stale(sent_at):
            self._accepted += sent_at >= self._first_at
            if self.concurrency is not None:
                self.concurrency = max(self.concurrency, in_flight)
            return
        self._accepted += 1
        self._accepted_since_last += 1
        if not self._disproved:
            self._pause = _PAUSE
        if self._resumed_at is None:
            self._resumed_at = sent_at
        if self.concurrency is not None and in_flight > self.concurrency:
            self.concurrency = in_flight
            self._step, self._raise_after, self._raise_at = 2 * self._step, _RAISE_AFTER, now + 2.0

    def refused(
        self,
        unanswered: Sequence[float],
        accepted: int,
        now: float,
        *,
        wall: float,
        burst_at: float,
        retry_after: float | None,
    ) -> None:
        """
        A call was refused while others were in flight: `accepted` ones, and those that were sent at `unanswered`.

        As refusals come faster than answers, the unanswered ones count as accepted. `burst_at`: when the calls before
        it began.
        """
        running = accepted + len(unanswered)
        fresh = self._accepted_since_last + sum(not self.is_stale(at) for at in unanswered)
        if now - self._last_at > _FORGET:
            self._restart(now)
        if self.concurrency is not None and running + 1 <= self.concurrency:
            self.concurrency, self._disproved = None, True
        if not self._disproved:
            if self.concurrency is not None:  # one call more was tried
                self._raise_after = min(6 * self._raise_after, _LONGEST_RAISE)
            self._step = 1
            self.concurrency = max(1, accepted)
            self._raise_at = now + self._raise_after
        else:
            self._learn(now, self._accepted + sum(at >= self._first_at for at in unanswered), fresh)
        if fresh:
            self._dry_at = now
        self._dry_for = max(now - self._dry_at, retry_after or 0.0)
        self.paused_until = max(self.paused_until, self._resume_at(now, wall, burst_at, retry_after))
        self._last_at, self._accepted_since_last, self._resumed_at = now, 0, None

    def overloaded(self, now: float, retry_after: float | None) -> None:
        """The upstream is overloaded: that says nothing of what it allows."""
        pause = self._pause if retry_after is None else retry_after
        self._pause = min(2 * self._pause, _LONGEST_OVERLOAD)
        self.paused_until = max(self.paused_until, now + pause)

    def limit(self, now: float) -> int | None:
        """Calls that may be in flight; one more than was learned when it is time to try that."""
        if self.concurrency is None:
            return None

        return self.concurrency + (self._step if now >= self._raise_at else 0)

    def grow(self, now: float) -> None:
        """Raise the learned rate or window while nothing is refused, faster if it was learned from few calls."""
        if self.rate is None:
            return
        if self.rate.per_second:
            if now >= self._grown_at + _RATE_PERIOD and self._accepted_since_last >= self._grown_with + _RATE_CALLS:
                self.rate.left, self.rate.at = self.rate.available(now), now
                self.rate.per_second *= 1.0 + min(0.3, self._growth * 0.5 / self._accepted)
                self._grown_at, self._grown_with, self._growth = now, self._accepted_since_last, 2 * self._growth
        elif now >= self._last_at + _FORGET / 2 and now >= self._grown_at + _FORGET / 2:
            self.rate.limit = math.ceil(self.rate.limit * 1.25)
            self._grown_at = now

    def _restart(self, now: float) -> None:
        self.concurrency, self.rate, self._pause, self._disproved = None, None, _PAUSE, False
        self._raise_after, self._first_at, self._dry_at, self._accepted = _RAISE_AFTER, now, now, 0

    def _learn(self, now: float, accepted: int, fresh: int) -> None:
        """Of `accepted` calls since the first refusal, `fresh` ones since the last."""
        elapsed = now - self._first_at
        if self.rate is not None and not self.rate.per_second and now < self.rate.reset:
            taken = int(self.rate.limit - self.rate.left)
            if taken > self.rate.limit / 2:  # the window is smaller than was tried
                self.rate.limit, self.rate.left, self.rate.at = taken - 1, 0.0, now
                return
            self.rate = None  # it begins at another time
        if self._dry_for >= _DRY and self._resumed_at is not None and self._accepted_since_last >= 8:
            windows = max(1, math.ceil((now - self._resumed_at) / 60.0))
            reset = self._resumed_at + windows * 60.0
            self.rate = Quota(limit=max(1, fresh // windows), left=0.0, per_second=0.0, at=now, reset=reset)
        elif accepted and elapsed > 0 and (self.rate is None or self.rate.per_second):
            rate = _MARGIN * accepted / elapsed
            self.rate = Quota(limit=2, left=0.0, per_second=rate, at=now, reset=now) if accepted >= _ENOUGH else None
            self._grown_at, self._grown_with, self._growth = now, 0, 1.0

    def _resume_at(self, now: float, wall: float, burst_at: float, retry_after: float | None) -> float:
        rough = self._disproved and self.rate is None
        at = now + (self._pause if retry_after is None else max(retry_after, self._pause if rough else 0.0))
        if rough or not self._accepted_since_last:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if retry_after is not None:
            return at
        if self.rate is not None and not self.rate.per_second:
            return now
        # Windows of a minute begin with a minute of the clock, or with the first call.
        for reset in (now + 60.0 - wall % 60.0 + 0.1, burst_at + 60.1):
            if now + 1.0 < reset < at:
                at = reset

        return at
