"""Spend summaries: sums over the ledger, which are kept when its entries are purged."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..jobs.attempts import DIGITS
from ..lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ..jobs.change import Call

#: Possible groupings of spend, the default first.
GROUPINGS = ("day", "key", "model", "group", "mode", "template")
_DAY = 86_400.0
#: Remainders of sums of fractions are no money, in dollars: 8 × 0.1 is less than 0.8.
DUST = 1e-9
#: Outcomes of attempts that may have cost something although no usage was reported.
_UNREPORTED = ("interrupted", "timeout")


@dataclass(frozen=True, kw_only=True)
class SpendSummary:
    """
    The attempts of one day, key, model, group, mode or template.

    `usd` is the total of those with a price, None if none has one; `unpriced` counts attempts of unknown cost,
    `ended` also those of which nothing was sent.
    """

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    usd: float | None = None
    unpriced: int = 0
    ended: int = 0

    @property
    def cost_usd(self) -> float | None:
        """The known cost: 0 if nothing was spent, None if nothing is known."""
        return None if self.usd is None and self.unpriced else round(self.usd or 0.0, DIGITS)


def spend_days(call: Call) -> SpendSummary:
    """The contribution of one finished attempt."""
    usage = call.usage or {}

    return SpendSummary(
        name=call.model,
        calls=int(call.sent),
        ended=1,
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        cache_read_tokens=usage.get("cache_read_input_tokens", 0),
        cache_write_tokens=usage.get("cache_creation_input_tokens", 0),
        usd=call.cost_usd,
        unpriced=int(call.sent and call.cost_usd is None and (bool(usage) or call.outcome in _UNREPORTED)),
    )


def summarize(name: str, rows: Collection[SpendSummary]) -> SpendSummary:
    """The total of several summaries."""
    priced = [row.usd for row in rows if row.usd is not None]
    names = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "unpriced", "ended")
    counts = {field: sum(getattr(row, field) for row in rows) for field in names}

    return SpendSummary(name=name, usd=sum(priced) if priced else None, **counts)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Complete UTC days from `first` to `last`, both included; None: open."""

    first: str | None = None
    last: str | None = None

    @classmethod
    def between(cls, since: float | None, until: float | None) -> Span:
        """The days that the time from `since` to shortly before `until` touches."""
        return cls(
            first=None if since is None else day_of(since), last=None if until is None else day_of(until - 0.001)
        )

    def __contains__(self, day: str) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


def next_day(now: float) -> float:
    """The beginning of the next UTC day."""
    return (now // _DAY + 1) * _DAY


def used_up(limit: float, used: float) -> bool:
    """Whether nothing is left of a budget."""
    return limit - used <= DUST


def day_of(now: float) -> str:
    """The UTC day (`2026-01-15`), by which budgets and sums are kept."""
    day = time.gmtime(now)

    return f"{day.tm_year:04}-{day.tm_mon:02}-{day.tm_mday:02}"  # %Y has no leading zeros everywhere
