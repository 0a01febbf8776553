"""What a request would come to: the same body as a submit, nothing kept and nothing run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ..core.intake import IntakeContext, parse
from ..core.keys import ADMIN
from ..core.money.estimate import estimate
from ..core.money.prices import Price, PriceList
from .relay import Relay


def estimate_body(
    relay: Relay, body: Any, defaults: IntakeContext, *, owner: str = ADMIN, form: bool = False
) -> dict[str, Any]:
    """Tokens and a price range, told locally; `InvalidRequest` for a body that a submit would refuse, too."""
    prices = defaults.prices or PriceList(dated="")
    # Whether it fits its maxCostUsd is what is asked here, so that is no reason to refuse.
    submission = parse(body, now=time.time(), context=replace(defaults, prices=None), form=form)
    submission, before = relay.queries.resolve_conversation(submission, owner)
    found = estimate(submission.request, model=submission.model, prices=prices, before=before, mode=submission.mode)
    warnings = [*submission.warnings, *found.warnings]
    price, limit = prices.of(submission.model), submission.max_cost_usd
    if price is None:
        warnings.append(f"no price is known for {submission.model}: see RELAY_PRICES")
    elif limit is not None and found.least is not None and found.least > limit:
        warnings.append(f"maxCostUsd {limit:g} is less than the least that this comes to: it would be refused")
    elif limit is not None and found.most is not None and found.most > limit:
        warnings.append(f"a long answer would be stopped when it comes to maxCostUsd {limit:g}")

    return {
        "basis": "estimate",
        "model": submission.model,
        "mode": submission.mode,
        "inputTokens": found.tokens.likely,
        "inputTokensRange": {"low": found.tokens.low, "high": found.tokens.high},
        "maxOutputTokens": found.output,
        "costUsd": None if found.least is None else {"low": found.least, "high": found.most},
        "maxCostUsd": limit,
        "prices": None if price is None else _told(price, prices.dated),
        "warnings": warnings,
    }


def _told(price: Price, dated: str) -> dict[str, Any]:
    """Dollars for a million tokens."""
    told: dict[str, Any] = {"dated": dated, **{kind: float(amount) for kind, amount in price.tokens.items()}}
    if price.long is not None:
        told["long"] = {"above": price.above, **{kind: float(amount) for kind, amount in price.long.items()}}

    return told | ({"note": price.note} if price.note else {})
