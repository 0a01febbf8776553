"""What was spent: sums over the ledger that stay when its entries are purged."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..jobs.attempts import DIGITS
from ..jobs.change import Call

#: By what spending can be told apart, and the default.
GROUPINGS = ("day", "key", "model", "group", "mode")
_DAY = 86_400.0
#: How a try ends that may have cost something though nothing of it was told.
_UNSEEN = ("interrupted", "timeout")


@dataclass(frozen=True, kw_only=True)
class SpendSummary:
    """
    The tries of one day, key, model, group or mode together.

    `usd`: what those with a price came to, None where none had one. `unpriced`: tries that cost something nobody knows.
    """

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    usd: float | None = None
    unpriced: int = 0

    @property
    def cost_usd(self) -> float | None:
        """What is known of it: nothing spent is 0, and nothing known is None."""
        return None if self.usd is None and self.unpriced else round(self.usd or 0.0, DIGITS)


def spend_days(call: Call) -> SpendSummary:
    """What one ended try adds."""
    usage = call.usage or {}

    return SpendSummary(
        name=call.model,
        calls=1,
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        cache_read_tokens=usage.get("cache_read_input_tokens", 0),
        cache_write_tokens=usage.get("cache_creation_input_tokens", 0),
        usd=call.cost_usd,
        unpriced=int(call.cost_usd is None and (bool(usage) or call.outcome in _UNSEEN)),
    )


def next_day(now: float) -> float:
    """When the next UTC day begins."""
    return (now // _DAY + 1) * _DAY


def day_of(now: float) -> str:
    """The UTC day, `2026-01-15`: budgets and sums begin anew with it."""
    return time.strftime("%Y-%m-%d", time.gmtime(now))
