"""Check of `maxCostUsd` before a call's first byte. Pure."""

from __future__ import annotations

from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..core.money.estimate import estimate
from ..core.money.prices import PriceList
from ..ports import CallRequest


def cost_failure(prompt: CallRequest, prices: PriceList) -> Failure | None:
    """The failure of a job whose next call certainly costs more than is left, for example after earlier attempts."""
    limit = prompt.max_cost_usd
    if limit is None:
        return None

    budget = limit - (prompt.job.cost_usd or 0.0)
    least = estimate(
        prompt.request, model=prompt.job.model, prices=prices, before=prompt.history, mode=prompt.job.lane
    ).least
    if least is None or least <= budget:
        return None

    spent = f", and {prompt.job.cost_usd:.6g} is spent" if prompt.job.cost_usd else ""
    message = f"the call would come to more than maxCostUsd ({limit:g}): at least {least:.6g}{spent}"

    return Failure(type=ErrorType.BUDGET, message=message, remedy=Remedy.FAIL, sent=False, reason="max_cost")


def affordable(prompt: CallRequest, max_tokens: int, prices: PriceList) -> int:
    """`max_tokens` that the remaining budget pays for: an answer in a batch cannot be stopped midway."""
    limit = prompt.max_cost_usd
    if limit is None:
        return max_tokens

    model = prompt.job.model
    tokens = estimate(prompt.request, model=model, prices=prices, before=prompt.history).tokens.likely
    input_cost = prices.cost(model, {"input_tokens": tokens}, batch=True)
    # Both together, because output may be more expensive after a long input.
    total = prices.cost(model, {"input_tokens": tokens, "output_tokens": 1_000_000}, batch=True)
    if input_cost is None or total is None or total <= input_cost:
        return max_tokens
    per_million = total - input_cost
    budget = limit - (prompt.job.cost_usd or 0.0) - input_cost

    return min(max_tokens, max(1, int(budget / per_million * 1_000_000)))
