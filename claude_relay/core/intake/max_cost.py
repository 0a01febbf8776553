"""What a request may cost, held against what it will: at the door, before a cent is spent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..money.estimate import estimate
from ..money.prices import PriceList, unpriced
from .fields import Diagnostics

FIELD = "maxCostUsd"


def _plain(dollars: float) -> str:
    """As people write it: no powers of ten."""
    return format(Decimal(f"{dollars:.6g}"), "f")


def check_max_cost(
    request: Mapping[str, Any], *, model: str, mode: str, limit: float | None, prices: PriceList, notes: Diagnostics
) -> None:
    """
    A problem where `limit` cannot be kept, a warning where no price is known.

    The least that it can cost counts, so that nothing is refused that might have fitted. What goes on from an earlier
    job, or brings files by address, is held against it again by the worker, who has them.
    """
    price = prices.of(model)
    if "continueFrom" in request:
        return
    if price is None:
        if limit is None:
            notes.warn(unpriced(model))
        else:
            unheld = f"cannot be kept: no price is known for {model}, and nobody could tell when it is reached"
            notes.problem(FIELD, f"{unheld}; leave it out, or name another options.model")
        return
    if limit is None:
        return
    found = estimate(request, model=model, prices=prices, mode=mode)
    if found.least is not None and found.least > limit:
        dollars = price.at(found.tokens.low)["input"]
        notes.problem(
            FIELD,
            f"is {_plain(limit)}, and the request alone comes to at least {_plain(found.least)}: "
            f"{found.tokens.low:,} tokens or more at ${dollars:g} a million ({model}, prices of {prices.dated}); "
            "raise it, or send less",
        )
