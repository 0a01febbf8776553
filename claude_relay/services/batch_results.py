"""The result of one batch item, applied to its job inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.jobs import batch_transitions, transitions
from ..core.jobs.failure import Completion, Failure
from ..core.jobs.job import State
from . import answer_checks, outcomes
from .attempts import fail_attempt, record_spend

if TYPE_CHECKING:
    from ..core.jobs.change import Change
    from ..ports import Transaction
    from .context import Context
    from .types import BatchEntry


def apply_result(
    tx: Transaction, entry: BatchEntry, result: Completion | Failure, context: Context, *, canceled: bool = False
) -> Change | None:
    """
    Save an outcome and its delivery, or another attempt.

    Where the job no longer waits for it, the answer is dropped and its cost is booked. `canceled`: the batch was
    cancelled before Claude came to this item, so that an auto job is called live without a double cost.
    """
    job, call = entry.job, entry.call
    if isinstance(result, Completion):
        # Also for a job that was promoted, and of which nothing was sent since.
        if job.state in (State.BATCHED, State.QUEUED) and (job.calls, job.run) == (call.number, call.run):
            verdict: Completion | Failure = result
            if entry.request is not None:
                verdict = answer_checks.judge(tx, job, result, entry.request, context, repair=entry.awaited)
            if isinstance(verdict, Failure) and entry.awaited:
                return fail_item(tx, entry, verdict, context)
            change = transitions.complete(job, result, token=None, call=call, now=tx.now)
            record_spend(tx, change)
            return outcomes.save_transition(tx, change, context, done=result)
        return _record_late_cost(tx, entry, result)
    if not entry.awaited:
        return _record_late_cost(tx, entry, result) if result.usage else None
    if canceled and job.give_up_at is not None:
        change = batch_transitions.promote(job, call=call, now=tx.now)
        tx.save(change)
        return change

    return fail_item(tx, entry, result, context)


def fail_item(tx: Transaction, entry: BatchEntry, failure: Failure, context: Context) -> Change:
    """Save a failed item, by the same rules as a live attempt."""
    return fail_attempt(tx, entry.job, failure, context, call=entry.call, token=None)


def _record_late_cost(tx: Transaction, entry: BatchEntry, result: Completion | Failure) -> Change:
    change = batch_transitions.record_late_cost(
        entry.job,
        call=entry.call,
        usage=result.usage,
        cost_usd=result.cost_usd,
        model=result.model,
        now=tx.now,
    )
    tx.save(change)
    record_spend(tx, change)

    return change
