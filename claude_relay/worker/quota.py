"""Counting the requests that an upstream still allows."""

from __future__ import annotations

from ..core.lazy_dataclass import dataclass


@dataclass(kw_only=True)
class Quota:
    """
    Requests left, as counted between answers.

    A bucket refills evenly (`per_second`); a fixed window (`per_second` 0) is full again at `reset` and not before.
    """

    limit: int
    left: float
    per_second: float
    at: float
    reset: float

    def available(self, now: float) -> float:
        """Requests that may be sent now."""
        if self.per_second:
            return min(float(self.limit), self.left + (now - self.at) * self.per_second)

        return float(self.limit) if now >= self.reset else self.left

    def take(self, count: int, now: float) -> None:
        """Count requests that were sent."""
        self.left, self.at = self.available(now) - count, now
        if not self.per_second and now >= self.reset:
            self.reset = now + 60.0

    def next_in(self, now: float) -> float:
        """Seconds until one more request may be sent."""
        missing = 1.0 - self.available(now)
        if missing <= 1e-9:
            return 0.0

        return missing / self.per_second if self.per_second else max(0.0, self.reset - now)
