"""What an answer's headers say about pace: `retry-after` and `anthropic-ratelimit-*`, parsed without trust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from email.utils import parsedate_to_datetime

#: A pause is never shorter (a hot loop) nor longer (a mistake upstream would stop the relay for days) than this.
SHORTEST, LONGEST = 1.0, 900.0
#: Dates in headers are whole seconds, and answers take a moment: less than this is no difference of clocks.
_SKEW = 5.0


@dataclass(frozen=True, kw_only=True)
class Quota:
    """One limit: how much in all, how much is left, and when it is whole again (seconds since 1970)."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """The limits of one model family, as one answer told them; `status` is that answer's."""

    requests: Quota = Quota()
    tokens: Quota = Quota()
    input_tokens: Quota = Quota()
    output_tokens: Quota = Quota()
    retry_after: float | None = None
    status: int | None = None

    @classmethod
    def parse(cls, headers: Mapping[str, str], *, now: float, status: int | None = None) -> RateLimits:
        """From lower-case headers. What is missing or garbled is None."""
        # Told by the sender's clock: ours may be wrong by hours.
        skew = (_date(headers.get("date")) or now) - now
        quotas = {
            one.name: _quota(headers, one.name.replace("_", "-"), skew if abs(skew) > _SKEW else 0.0)
            for one in fields(cls)
            if one.name not in ("retry_after", "status")
        }
        return cls(retry_after=retry_after(headers, now=now), status=status, **quotas)

    def exhausted_for(self, now: float) -> float | None:
        """Seconds until the last of the limits that are used up is whole again."""
        quotas = (self.requests, self.tokens, self.input_tokens, self.output_tokens)
        resets = [one.reset - now for one in quotas if one.remaining == 0 and one.reset is not None]

        return _clamped(max(resets)) if resets else None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """`retry-after-ms`, or `retry-after` as seconds or as a date, within sane bounds; None for garbage."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return _clamped(seconds / scale)
    moment, sent = _date(headers.get("retry-after")), _date(headers.get("date"))
    if moment is None:
        return None

    return _clamped(moment - (now if sent is None else sent))


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

    whole_at = _moment(reset)

    return Quota(limit=_whole(limit), remaining=_whole(remaining), reset=None if whole_at is None else whole_at - skew)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None

    return number if math.isfinite(number) else None


def _whole(value: str | None) -> int | None:
    number = _number(value)

    return None if number is None else int(number)


def _moment(value: str | None) -> float | None:
    try:
        moment = datetime.fromisoformat((value or "").replace("Z", "+00:00"))
    except ValueError:
        return None

    return moment.timestamp() if moment.tzinfo else None


def _clamped(seconds: float) -> float:
    return min(max(seconds, SHORTEST), LONGEST)
