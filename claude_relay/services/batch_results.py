"""What the result of one item means for its job, while it waits for it and afterwards. Inside one transaction."""

from __future__ import annotations

from dataclasses import replace

from ..core.jobs import batch_transitions, fallback, transitions
from ..core.jobs.change import Change, with_warning
from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy, SchemaRepair
from ..core.jobs.job import State
from ..ports import Transaction
from . import model_fallback, outcomes
from .context import Context
from .execution import apply_backpressure, limit_schema_repair, record_spend, resume_if_parked
from .types import BatchEntry

#: What is better asked live: no batch can go on after a pause, ask for a schema in words, or store its files first.
LIVE_AFTER_ERRORS = ("pause_turn", "schema_refused", "item_too_large")


def apply_result(
    tx: Transaction, one: BatchEntry, end: Completion | Failure, context: Context, *, canceled: bool = False
) -> Change | None:
    """
    An outcome and its delivery, or another try.

    Where nobody waits for it any more, the answer is dropped and what it cost is booked. `canceled`: its batch was
    given up before Claude came to it, so that an auto job goes live without a double cost.
    """
    job, call, now = one.job, one.call, tx.now
    if isinstance(end, Completion):
        # Also for a job that was promoted and of which nothing was sent since.
        if job.state in (State.BATCHED, State.QUEUED) and (job.calls, job.run) == (call.number, call.run):
            change = transitions.complete(replace(job, lane="batch"), end, token=None, call=call, now=now)
            record_spend(tx, change)
            return outcomes.save_transition(tx, replace(change, before=job), context, done=end)
        return _book(tx, one, end.usage, end.cost_usd, end.model)
    if not one.awaited:
        return _book(tx, one, end.usage, end.cost_usd, end.model or "") if end.usage else None
    if canceled and job.give_up_at is not None:
        change = batch_transitions.promote(job, call=call, now=now)
        tx.save(change)
        return change

    return fail_item(tx, one, end, context)


def fail_item(tx: Transaction, one: BatchEntry, failure: Failure, context: Context) -> Change:
    """A try that did not end well, by the same rules as a live one."""
    end = limit_schema_repair(tx, one.job, failure)
    if failure.reason in LIVE_AFTER_ERRORS:  # not a try that failed: a live call does it within one
        end = replace(end, remedy=Remedy.THROTTLE, retry_after=0.0)
    change = transitions.fail(
        one.job,
        end,
        token=None,
        call=one.call,
        policy=context.policy,
        now=tx.now,
        chance=context.rng.random(),
    )
    if failure.reason in LIVE_AFTER_ERRORS and change.job.state is State.QUEUED:
        change = replace(change, job=replace(change.job, lane="live", due_at=tx.now))
        change = with_warning(change, f"it left its batch and was called live, at the full price: {end.message}")
    if failure.shows_the_key_works:
        resume_if_parked(tx, one.call.started_at)
    if end.type is ErrorType.SCHEMA and not change.job.state.final:
        tx.save_repair(one.job.id, one.job.run, SchemaRepair(text=end.partial, problem=end.message))
    if failure.remedy is Remedy.PARK:
        apply_backpressure(tx, one.job, change, failure)
    change = fallback.fall_back(change, failure, closed=model_fallback.throttled_families(tx))
    record_spend(tx, change)

    return outcomes.save_transition(tx, change, context, partial=failure.partial)


def _book(tx: Transaction, one: BatchEntry, usage: dict[str, int] | None, cost_usd: float | None, model: str) -> Change:
    change = batch_transitions.record_late_cost(
        one.job, call=one.call, usage=usage, cost_usd=cost_usd, model=model, now=tx.now
    )
    tx.save(change)
    record_spend(tx, change)

    return change
