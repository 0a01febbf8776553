"""The end of an attempt, live or in a batch, inside a transaction: retry or failure, queue holds, and spend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.jobs import batch_transitions, fallback, transitions
from ..core.jobs.change import RELEASED
from ..core.jobs.failure import ErrorType, Failure, Remedy, Repair
from ..core.jobs.holds import PARK, HoldScope, QueueHold
from ..core.jobs.park import park_reason
from ..core.money.spend import day_of
from . import model_fallback, outcomes, upstream_circuit
from .holds import MAX_PROBE_DELAY, PROBE_EVERY, load_holds, release

if TYPE_CHECKING:
    from ..core.jobs.change import Call, Change
    from ..core.jobs.job import Job
    from ..ports import Transaction
    from .context import Context

#: Seconds for which a throttle without Retry-After holds a family at least, so that other workers notice it.
_MIN_HOLD = 1.0
#: Faults of an answer that Claude is asked to repair.
_REPAIRED = (ErrorType.SCHEMA, ErrorType.CHECKS)


def fail_attempt(
    tx: Transaction,
    job: Job,
    failure: Failure,
    context: Context,
    *,
    call: Call,
    token: str | None,
    pause: float | None = None,
) -> Change:
    """
    Save a failed attempt with its consequences for the job and the queue.

    `token` None: the attempt was an item of a batch. Its batch has dealt with throttles and connection errors. `pause`:
    seconds for which the worker holds back a throttled family.
    """
    chance = context.rng.random()
    earlier = tx.repair(job.id, job.run) if job.attempt > 1 or failure.type in _REPAIRED else None
    counted = _limit_repairs(earlier, failure)
    if token is None:
        change = batch_transitions.fail(job, counted, call=call, policy=context.policy, now=tx.now, chance=chance)
    else:
        change = transitions.fail(
            job, counted, token=token, call=call, policy=context.policy, now=tx.now, chance=chance
        )
    if failure.shows_the_key_works:
        resume_if_parked(tx, call.started_at)
    if counted.type in _REPAIRED and not change.job.state.final:
        kinds = (*(earlier.kinds if earlier else ()), counted.type)
        tx.save_repair(job.id, job.run, Repair(text=counted.partial, problem=counted.message, kinds=kinds))
    if failure.remedy is Remedy.PARK:
        _park(tx, failure)
    elif token is not None and failure.remedy is Remedy.THROTTLE and change.job.due_at > tx.now:
        # A job that is throttled without Retry-After waits longer than its family: the worker has learned the limit.
        named = failure.retry_after is not None or pause is None
        _throttle_family(tx, job, failure, until=change.job.due_at if named else tx.now + max(_MIN_HOLD, pause or 0.0))
    if token is not None and failure.reason == "connect":
        upstream_circuit.record_failure(tx, failure, chance=chance)
    change = fallback.fall_back(change, failure, throttled=load_holds(tx).throttled_families)
    record_spend(tx, change)

    return outcomes.save_transition(tx, change, context, partial=failure.partial)


def record_spend(tx: Transaction, change: Change) -> None:
    """Add an attempt and its cost to the sums, in the transaction that ends it; a released one is none."""
    if change.call is not None and change.call.outcome != RELEASED:
        tx.add_spend(day_of(tx.now), change.job, change.call)
        if change.job.collection is not None and change.call.cost_usd:
            tx.add_collection_spend(change.job.collection, change.call.cost_usd)


def resume_if_parked(tx: Transaction, began_at: float) -> None:
    """End a park after a call that began later: it proves that the key works again. Older calls prove nothing."""
    park = load_holds(tx).get(PARK)
    if park is not None and began_at > park.since:
        release(tx, PARK)


def _limit_repairs(earlier: Repair | None, failure: Failure) -> Failure:
    """Fail for good at the second answer with the same kind of fault: a repair of each is requested once."""
    if failure.type not in _REPAIRED or earlier is None or failure.type not in earlier.kinds:
        return failure

    return replace(failure, remedy=Remedy.FAIL, message=f"{failure.message}, also after it was asked to fix that")


def _park(tx: Transaction, failure: Failure) -> None:
    """Hold the whole queue: the key is refused, or its spend limit is reached."""
    current = load_holds(tx).get(PARK)
    until = tx.now + min(max(PROBE_EVERY, failure.retry_after or 0.0), MAX_PROBE_DELAY)
    since = current.since if current else tx.now
    tx.save_hold(QueueHold(scope=PARK, reason=park_reason(failure), since=since, until=until, detail=failure.message))


def _throttle_family(tx: Transaction, job: Job, failure: Failure, *, until: float) -> None:
    """Hold a model family that is rate limited or overloaded."""
    scope = HoldScope.family(job.family)
    current = load_holds(tx).get(scope)
    if current is not None and tx.now - (current.until or 0.0) > model_fallback.SAME_THROTTLE:
        tx.delete_hold(scope)  # that throttle is over: `since` of the new one is now
    tx.save_hold(QueueHold(scope=scope, reason=failure.type.value, since=tx.now, until=until))
