"""Cost estimates: the body of a submit, without storing or running anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.keys import ADMIN
from ..core.money.estimate import estimate
from ..core.money.prices import Price, PriceList

if TYPE_CHECKING:
    from ..core.intake import IntakeContext
    from .queries import Queries
    from .templates import Templates


class Estimates:
    """Token counts and price ranges, computed locally."""

    def __init__(self, queries: Queries, templates: Templates) -> None:
        self._queries, self._templates = queries, templates

    def estimate(
        self, body: Any, intake: IntakeContext, *, now: float, owner: str = ADMIN, form: bool = False
    ) -> dict[str, Any]:
        """Estimate a submit body; raises `InvalidRequest` for a body that a submit would refuse, too."""
        prices = intake.prices or PriceList(dated="")
        # A body over its maxCostUsd is not refused here: whether it fits is the question.
        submission = self._templates.parse(
            body, owner=owner, now=now, context=replace(intake, prices=None), form=form, repeats=False
        )
        submission, history = self._queries.resolve_conversation(submission, owner)
        model, mode = submission.model, submission.mode
        result = estimate(submission.request, model=model, prices=prices, before=history, mode=mode)
        warnings = [*submission.warnings, *result.warnings]
        price, limit = prices.of(model), submission.max_cost_usd
        if price is None:
            warnings.append(f"no price is known for {model}: see RELAY_PRICES")
        elif limit is not None and result.least is not None and result.least > limit:
            warnings.append(f"maxCostUsd {limit:g} is less than the lowest estimate: it would be refused")
        elif limit is not None and result.most is not None and result.most > limit:
            warnings.append(f"a long answer would be stopped when its cost reaches maxCostUsd {limit:g}")

        return {
            "basis": "estimate",
            "model": model,
            "mode": mode,
            "inputTokens": result.tokens.likely,
            "inputTokensRange": {"low": result.tokens.low, "high": result.tokens.high},
            "maxOutputTokens": result.output,
            "costUsd": None if result.least is None else {"low": result.least, "high": result.most},
            "maxCostUsd": limit,
            "prices": None if price is None else _price_body(price, prices.dated),
            "warnings": warnings,
        }


def _price_body(price: Price, dated: str) -> dict[str, Any]:
    """Prices in dollars per million tokens."""
    fields: dict[str, Any] = {"dated": dated, **{kind: float(amount) for kind, amount in price.tokens.items()}}
    if price.long is not None:
        fields["long"] = {"above": price.above, **{kind: float(amount) for kind, amount in price.long.items()}}

    return fields | ({"note": price.note} if price.note else {})
