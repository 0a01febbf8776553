"""Parser for the response headers `retry-after` and `anthropic-ratelimit-*`, which tolerates invalid values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from email.utils import parsedate_to_datetime

from ..core.lazy_dataclass import dataclass

#: Bounds of a pause: no hot loop, and no upstream mistake that stops the relay for days.
MIN_PAUSE, MAX_PAUSE = 1.0, 900.0
#: Clock differences below this are ignored: dates in headers are whole seconds, and responses take time.
_MIN_SKEW = 5.0


@dataclass(frozen=True, kw_only=True)
class Quota:
    """One rate limit: its size, the remainder, and the time when it is full again (seconds since 1970)."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """The rate limits of one model family, from one response, whose status is `status`."""

    requests: Quota = Quota()
    tokens: Quota = Quota()
    input_tokens: Quota = Quota()
    output_tokens: Quota = Quota()
    retry_after: float | None = None
    status: int | None = None

    @classmethod
    def parse(cls, headers: Mapping[str, str], *, now: float, status: int | None = None) -> RateLimits:
        """Parse lower-case headers. A missing or invalid value is None."""
        # Resets are times on the sender's clock; ours may be wrong by hours.
        skew = (_date(headers.get("date")) or now) - now
        quotas = {
            limit.name: _quota(headers, limit.name.replace("_", "-"), skew if abs(skew) > _MIN_SKEW else 0.0)
            for limit in fields(cls)
            if limit.name not in ("retry_after", "status")
        }
        return cls(retry_after=retry_after(headers, now=now), status=status, **quotas)

    def exhausted_for(self, now: float) -> float | None:
        """Seconds until every exhausted limit is full again; None if no limit is exhausted."""
        quotas = (self.requests, self.tokens, self.input_tokens, self.output_tokens)
        resets = [quota.reset - now for quota in quotas if quota.remaining == 0 and quota.reset is not None]

        return _clamped(max(resets)) if resets else None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds from `retry-after-ms`, or `retry-after` in seconds or as a date, within bounds; None if invalid."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return _clamped(seconds / scale)
    retry_at, sent_at = _date(headers.get("retry-after")), _date(headers.get("date"))
    if retry_at is None:
        return None

    return _clamped(retry_at - (now if sent_at is None else sent_at))


def _date(value: str | None) -> float | None:
    """An HTTP date, or None."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _quota(headers: Mapping[str, str], name: str, skew: float) -> Quota:
    limit, remaining, reset = (
        headers.get(f"anthropic-ratelimit-{name}-{end}") for end in ("limit", "remaining", "reset")
    )

    reset_at = _timestamp(reset)

    return Quota(
        limit=_integer(limit), remaining=_integer(remaining), reset=None if reset_at is None else reset_at - skew
    )


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None

    return number if math.isfinite(number) else None


def _integer(value: str | None) -> int | None:
    number = _number(value)

    return None if number is None else int(number)


def _timestamp(value: str | None) -> float | None:
    try:
        parsed = datetime.fromisoformat((value or "").replace("Z", "+00:00"))
        return parsed.timestamp() if parsed.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _clamped(seconds: float) -> float:
    return min(max(seconds, MIN_PAUSE), MAX_PAUSE)
