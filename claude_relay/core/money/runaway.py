"""Keys that spend more today than in the whole week before, and that no budget will stop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..lazy_dataclass import dataclass

#: Spend of a day that is worth a look, in dollars.
LEAST_USD = 5.0
#: Days of the week before.
DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Runaway:
    """A key, its spend of today, and that of the week before."""

    key: str
    today_usd: float
    week_usd: float


def suspects(today: Mapping[str, float], *, budgeted: Collection[str]) -> Sequence[str]:
    """Keys that have spent enough today to be compared with the week before."""
    return [key for key, usd in sorted(today.items()) if usd >= LEAST_USD and key not in budgeted]


def runaways(today: Mapping[str, float], week: Mapping[str, float], *, budgeted: Collection[str]) -> list[Runaway]:
    """Keys without a budget that spend more today than in the week before; new keys are left out."""
    return sorted(
        (
            Runaway(key=key, today_usd=today[key], week_usd=week[key])
            for key in suspects(today, budgeted=budgeted)
            if 0 < week.get(key, 0.0) < today[key]
        ),
        key=lambda each: -each.today_usd,
    )
