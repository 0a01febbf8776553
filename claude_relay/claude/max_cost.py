"""Whether a call can still fit what its job may cost: asked before the first byte. Pure."""

from __future__ import annotations

from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..core.money.estimate import estimate
from ..core.money.prices import PriceList
from ..ports import CallRequest


def exceeds_limit(prompt: CallRequest, prices: PriceList) -> Failure | None:
    """The end of a job whose next try would surely come to more than is left; the door could not know of all of it."""
    limit = prompt.max_cost_usd
    if limit is None:
        return None

    left = limit - (prompt.job.cost_usd or 0.0)
    least = estimate(
        prompt.request, model=prompt.job.model, prices=prices, before=prompt.history, mode=prompt.job.lane
    ).least
    if least is None or least <= left:
        return None

    spent = f", and {prompt.job.cost_usd:.6g} is spent" if prompt.job.cost_usd else ""
    message = f"the call would come to more than maxCostUsd ({limit:g}): at least {least:.6g}{spent}"

    return Failure(type=ErrorType.BUDGET, message=message, remedy=Remedy.FAIL, sent=False, reason="max_cost")


def affordable(prompt: CallRequest, max_tokens: int, prices: PriceList) -> int:
    """How long an answer in a batch may be, where nothing can be stopped in the middle: what is left pays for it."""
    limit = prompt.max_cost_usd
    if limit is None:
        return max_tokens

    model = prompt.job.model
    tokens = estimate(prompt.request, model=model, prices=prices, before=prompt.history).tokens.likely
    read = prices.cost(model, {"input_tokens": tokens}, batch=True)
    # Together, as output may be dearer after a long input.
    whole = prices.cost(model, {"input_tokens": tokens, "output_tokens": 1_000_000}, batch=True)
    if read is None or whole is None or whole <= read:
        return max_tokens
    written, left = whole - read, limit - (prompt.job.cost_usd or 0.0) - read

    return min(max_tokens, max(1, int(left / written * 1_000_000)))
