"""The check of `maxCostUsd` against an estimate, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..money.estimate import estimate
from ..money.prices import PriceList, unpriced

if TYPE_CHECKING:
    from .fields import Diagnostics

FIELD = "maxCostUsd"


def check_max_cost(
    request: Mapping[str, Any], *, model: str, mode: str, limit: float | None, prices: PriceList, notes: Diagnostics
) -> None:
    """
    Add a problem if `limit` cannot be kept, and a warning if the model has no price.

    The minimum cost counts, so that no request is refused that might have fitted. The worker checks requests that
    continue an earlier job or have files by URL again, once it has loaded these.
    """
    price = prices.of(model)
    if "continueFrom" in request:
        return
    if price is None:
        if limit is None:
            notes.warn(unpriced(model))
        else:
            notes.problem(
                FIELD,
                f"cannot be enforced: {model} has no known price; leave it out, or choose another options.model",
            )
        return
    if limit is None:
        return
    result = estimate(request, model=model, prices=prices, mode=mode)
    if result.least is not None and result.least > limit:
        dollars = price.at(result.tokens.low)["input"]
        notes.problem(
            FIELD,
            f"is {_decimal(limit)}, but the request alone costs at least {_decimal(result.least)}: "
            f"{result.tokens.low:,} tokens or more at ${dollars:g} per million ({model}, prices of {prices.dated}); "
            "raise it, or send less",
        )


def _decimal(dollars: float) -> str:
    """The amount without an exponent."""
    return format(Decimal(f"{dollars:.6g}"), "f")
