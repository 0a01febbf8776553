"""The checks of an answer: evaluated outside a transaction, and applied inside the one that stores the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.checks import review
from ..core.jobs.attempts import add_costs
from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy, answer_fields
from ..core.money.estimate import estimate
from ..core.money.spend import used_up

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.submission import StoredRequest
    from ..ports import Transaction
    from .context import Context


def with_results(done: Completion, request: StoredRequest | None) -> Completion:
    """The answer with the results of its checks; unchanged for a job without checks."""
    if request is None:
        return done

    return replace(done, checks=review.review(request.request.get("options", {}), done.text, done.json))


def judge(
    tx: Transaction, job: Job, done: Completion, request: StoredRequest, context: Context, *, repair: bool = True
) -> Completion | Failure:
    """
    The answer, or the failure that asks for a repair or ends the run.

    A repair is asked for once a run, where `maxCostUsd` allows another call. After it `onCheckFailed` decides.
    """
    if not done.checks or not review.failed(done.checks):
        return done
    failure = _failure(done)
    earlier = tx.repair(job.id, job.run)
    if (
        repair
        and (earlier is None or ErrorType.CHECKS not in earlier.kinds)
        and _is_affordable(tx, job, done, request, context)
    ):
        return failure
    if request.request.get("onCheckFailed") != "fail":
        return done

    return replace(failure, remedy=Remedy.FAIL)


def _failure(done: Completion) -> Failure:
    return Failure(
        type=ErrorType.CHECKS,
        message=review.describe(done.checks or ()),
        remedy=Remedy.RETRY,
        checks=done.checks,
        reason="checks",
        **answer_fields(done),
    )


def _is_affordable(tx: Transaction, job: Job, done: Completion, request: StoredRequest, context: Context) -> bool:
    """Whether another call may fit into `maxCostUsd`, to which it adds its input at least; also of its collection."""
    collection = tx.collection(job.collection) if job.collection is not None else None
    if (
        collection is not None
        and collection.max_cost_usd is not None
        and used_up(collection.max_cost_usd, collection.spent_usd + (done.cost_usd or 0.0))
    ):
        return False
    limit = request.max_cost_usd
    if limit is None:
        return True
    least = estimate(request.request, model=job.model, prices=context.prices, mode=job.lane).least

    return (add_costs(job.cost_usd, done.cost_usd) or 0.0) + (least or 0.0) <= limit
