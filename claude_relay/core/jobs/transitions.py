"""
The job's moves: every one a function from a job to a `Change`, or `IllegalTransition`.

    submit ─▶ queued ──claim──▶ running ──complete──▶ completed
               ▲ │  ▲              │
               │ │  ├─ fail, retryable and tries left; release
               │ │  ├─ expire, interrupt: per onInterrupt queued, failed with what had come, or held
               │ │  └──────────────┴─ fail for good ─▶ failed
               │ └─ cancel ─▶ cancelled ◀─ fail or complete, with a cancel asked for
               └─ retry ── completed, failed, cancelled, held (a new run)

A cancel of a running job sets a mark and keeps the state. Outcomes and deliveries are added by `outcome`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import Conflict, IllegalTransition
from ..backoff import exponential
from ..policy import Policy
from .attempts import add_costs, close_entry, last_usage
from .change import Call, Change, Event, transition
from .failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from .fencing import deadline_after_batch, fence, fence_attempt
from .job import Job, Lease, OnInterrupt, State

_IDLE: dict[str, Any] = {"lease": None, "sent": False}


def submit(job: Job, *, now: float) -> Change:
    """The first move: a job that was not there before (`expects` 0)."""
    event = Event(job_id=job.id, subject="job", version=job.version, at=now, name="submitted")

    return Change(job=job, expects=0, event=event)


def claim(job: Job, *, lease: Lease, now: float) -> Change:
    """
    Hand a due job to one worker, and open its entry in the ledger.

    The attempt counts from here; a try that was throttled, or never sent, gives it back.
    """
    if job.state is not State.QUEUED or job.due_at > now:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not due")

    number = job.calls + 1
    call = Call(
        job_id=job.id, number=number, run=job.run, started_at=now, worker=lease.worker, model=job.model, outcome=None
    )
    change = transition(
        job,
        "claimed",
        now=now,
        detail={"attempt": job.attempt + 1, "worker": lease.worker},
        state=State.RUNNING,
        attempt=job.attempt + 1,
        calls=number,
        lease=lease,
        sent=False,
        waiting_for=None,
    )
    return replace(change, call=call)


def complete(job: Job, done: Completion, *, token: str | None, call: Call, now: float) -> Change:
    """
    The answer was seen to its end. It stands, even where a cancel came too late to stop it.

    `token` None: it came out of a batch, which the job had or has been waiting for.
    """
    fence_attempt(job, token, call)
    usage = done.usage
    change = transition(
        job,
        "completed",
        now=now,
        detail={"attempt": job.attempt, "outputTokens": usage.get("output_tokens"), "stopReason": done.stop_reason},
        state=State.COMPLETED,
        finished_at=now,
        response_length=len(done.text),
        usage=usage,
        cost_usd=add_costs(job.cost_usd, done.cost_usd),
        error_type=None,
        error=None,
        unsent=0,
        **_IDLE,
    )
    ended = replace(
        call,
        ended_at=now,
        sent=True,
        outcome="completed",
        first_byte_at=done.first_byte_at or call.first_byte_at,
        model=done.model,
        usage=done.last_usage or usage,
        cost_usd=done.cost_usd,
        upstream_request_id=done.upstream_request_id or call.upstream_request_id,
        text_length=len(done.text),
    )
    return replace(change, call=ended)


def continue_call(job: Job, before: RequestOutcome, *, token: str, call: Call, now: float) -> Change:
    """Another request of the same call, admitted like the first: the entry of the one before ends, a new one opens."""
    fence(job, token)
    change = transition(
        job,
        "resumed",
        now=now,
        detail={"outcome": before.outcome, "error": before.detail},
        calls=job.calls + 1,
        cost_usd=add_costs(job.cost_usd, before.cost_usd),
    )
    ended = replace(
        call,
        ended_at=now,
        sent=True,
        outcome=before.outcome,
        detail=before.detail,
        usage=before.usage,
        cost_usd=before.cost_usd,
        model=before.model or call.model,
        upstream_request_id=before.upstream_request_id or call.upstream_request_id,
        first_byte_at=before.first_byte_at or call.first_byte_at,
        text_length=before.text_length,
    )
    opened = Call(
        job_id=job.id,
        number=job.calls + 1,
        run=job.run,
        started_at=now,
        worker=call.worker,
        model=job.model,
        sent=True,
        reserved_usd=call.reserved_usd,
    )
    return replace(change, call=ended, next_call=opened)


def fail(
    job: Job, failure: Failure, *, token: str | None, call: Call, policy: Policy, now: float, chance: float
) -> Change:
    """
    A try that did not end well: again later, without counting, or for good (the table of `CONTRACT.md` §5).

    `token` None: it came out of a batch.
    """
    fence_attempt(job, token, call)
    ended = close_entry(call, failure, now=now)
    known = dict(
        ambiguous=job.ambiguous or failure.ambiguous,
        cost_usd=add_costs(job.cost_usd, failure.cost_usd),
        deadline_at=deadline_after_batch(job, call, now=now),
        **_IDLE,
    )

    if job.cancel_requested_at is not None:
        came = dict(usage=failure.usage or job.usage, response_length=len(failure.partial))
        return replace(_cancelled(job, now=now, **came, **known), call=ended)
    if failure.remedy is Remedy.FAIL:
        return replace(_failed(job, failure, now=now, **known), call=ended)
    if failure.remedy in (Remedy.THROTTLE, Remedy.PARK):
        delay = failure.retry_after
        if failure.remedy is Remedy.PARK:
            delay = 0.0  # the parked queue holds it back, and lets it go the moment it works again
        elif delay is None:
            delay = exponential(3, base=policy.backoff_base, cap=policy.backoff_max, chance=chance)
        change = _again(job, failure, due_at=now + delay, now=now, attempt=max(job.attempt - 1, 0), **known)
        return replace(change, call=ended)

    failures = job.failures + 1
    if failures >= policy.call_attempts:
        return replace(_failed(job, failure, now=now, failures=failures, **known), call=ended)

    delay = exponential(failures, base=policy.backoff_base, cap=policy.backoff_max, chance=chance)
    delay = max(delay, failure.retry_after or 0.0)
    return replace(_again(job, failure, due_at=now + delay, now=now, failures=failures, **known), call=ended)


def release(job: Job, *, token: str, call: Call, now: float) -> Change:
    """Hand a job back of which nothing was sent: at once due again, and nothing is counted; unless it is to stop."""
    fence(job, token)
    ended = replace(call, ended_at=now, outcome="released")
    if job.cancel_requested_at is not None:
        return replace(_cancelled(job, now=now, **_IDLE), call=ended)

    change = transition(
        job,
        "released",
        now=now,
        state=State.QUEUED,
        attempt=max(job.attempt - 1, 0),
        due_at=min(job.due_at, now),
        **_IDLE,
    )
    return replace(change, call=ended)


def interrupt(
    job: Job,
    partial: PartialResponse,
    *,
    call: Call,
    why: str,
    policy: Policy,
    now: float,
    chance: float,
    token: str | None = None,
) -> Change:
    """
    The worker died holding the job, or a planned stop outlasted its drain.

    What was not sent goes back free of charge, a little later each time, so that a job that kills its worker cannot
    spin. What was sent is ambiguous and goes the way of `onInterrupt`.
    """
    if token is not None:
        fence(job, token)
    if job.state is not State.RUNNING:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not running")

    cost = partial.cost_usd if partial.cost_usd is not None else call.cost_usd
    ended = replace(
        call,
        ended_at=now,
        sent=job.sent,
        outcome="interrupted" if job.sent else "released",
        detail=why,
        first_byte_at=partial.first_byte_at or call.first_byte_at,
        usage=last_usage(partial) or call.usage,
        cost_usd=cost,
        upstream_request_id=partial.upstream_request_id or call.upstream_request_id,
        text_length=len(partial.text),
    )
    if job.cancel_requested_at is not None:
        known = dict(ambiguous=job.ambiguous or job.sent, cost_usd=add_costs(job.cost_usd, cost), **_IDLE)
        known |= dict(usage=partial.usage or job.usage, response_length=len(partial.text))
        return replace(_cancelled(job, now=now, **known), call=ended)
    if not job.sent:
        tries = job.unsent + 1
        delay = (
            exponential(tries, base=policy.backoff_base, cap=policy.backoff_max, chance=chance) if tries > 1 else 0.0
        )
        change = transition(
            job,
            "released",
            now=now,
            detail={"why": why},
            state=State.QUEUED,
            attempt=max(job.attempt - 1, 0),
            unsent=tries,
            due_at=now + delay,
            **_IDLE,
        )
        return replace(change, call=ended)

    failure = Failure(
        type=ErrorType.INTERRUPTED,
        message=f"the call was interrupted: {why}",
        remedy=Remedy.RETRY,
        ambiguous=True,
        partial=partial.text,
        usage=partial.usage,
        model=partial.model,
    )
    spent = add_costs(job.cost_usd, cost)
    count = dict(interruptions=job.interruptions + 1, ambiguous=True, cost_usd=spent, **_IDLE)
    if job.on_interrupt is OnInterrupt.HOLD:
        change = transition(
            job, "held", now=now, detail={"why": why}, state=State.HELD, waiting_for=f"held: {failure.message}", **count
        )
    elif job.on_interrupt is OnInterrupt.PARTIAL or job.interruptions >= policy.interrupted_attempts:
        change = _failed(job, failure, now=now, **count)
    else:
        change = _again(job, failure, due_at=now, now=now, **count)

    return replace(change, call=ended)


def cancel(job: Job, *, now: float) -> Change:
    """Stop it: at once where nothing runs, else at the stream's next event."""
    if job.state is State.RUNNING:
        if job.cancel_requested_at is not None:
            raise Conflict(f"job {job.request_id} is being cancelled already")
        return transition(job, "cancel_requested", now=now, cancel_requested_at=now)
    if job.state is State.BATCHED:
        raise IllegalTransition(f"job {job.request_id} is in a batch: it is withdrawn from that")
    if job.state.final:
        raise Conflict(f"job {job.request_id} has already {_ENDED[job.state]}: there is nothing left to cancel")

    return _cancelled(job, now=now)


def expire(job: Job, *, now: float) -> Change:
    """Its deadline passed while it waited."""
    if job.state is not State.QUEUED or job.deadline_at is None or job.deadline_at > now:
        raise IllegalTransition(f"job {job.request_id} is not past its deadline")

    failure = Failure(type=ErrorType.DEADLINE, message=_too_late(job), remedy=Remedy.FAIL, sent=False)
    return _failed(job, failure, now=now)


def retry(
    job: Job,
    *,
    policy: Policy,
    now: float,
    model: str | None = None,
    fallbacks: tuple[str, ...] | None = None,
    lane: str = "live",
    give_up_at: float | None = None,
) -> Change:
    """A new run of the same job: counts, deadline and outcome begin anew, what was spent stays in the ledger."""
    if not job.state.final and job.state is not State.HELD:
        raise Conflict(f"job {job.request_id} is {_WORDS[job.state]}: it can be retried once it has ended")

    return transition(
        job,
        "retried",
        now=now,
        detail={"run": job.run + 1},
        state=State.QUEUED,
        run=job.run + 1,
        run_started_at=now,
        model=model or job.model,
        fallbacks=job.fallbacks if fallbacks is None else fallbacks,
        lane=lane,
        give_up_at=give_up_at,
        due_at=now,
        attempt=0,
        failures=0,
        interruptions=0,
        unsent=0,
        ambiguous=False,
        cancel_requested_at=None,
        deadline_at=now + policy.deadline,
        deadline_asked=False,
        deadline_fixed=False,
        waiting_for=None,
        finished_at=None,
        error_type=None,
        error=None,
        response_length=0,
        usage=None,
        cost_usd=None,
        **_IDLE,
    )


_ENDED = {State.COMPLETED: "completed", State.FAILED: "failed", State.CANCELLED: "been cancelled"}
_WORDS = {State.QUEUED: "waiting", State.RUNNING: "running", State.BATCHED: "in a batch"}


def _again(job: Job, failure: Failure, *, due_at: float, now: float, **fields: Any) -> Change:
    detail = {"errorType": failure.type.value, "error": failure.message, "dueAt": due_at, "reason": failure.reason}
    waiting = f"{failure.type.value}: {failure.message}"

    return transition(
        job, "deferred", now=now, detail=detail, state=State.QUEUED, due_at=due_at, waiting_for=waiting, **fields
    )


def _failed(job: Job, failure: Failure, *, now: float, **fields: Any) -> Change:
    ended: dict[str, Any] = dict(
        state=State.FAILED,
        finished_at=now,
        error_type=failure.type.value,
        error=failure.message,
        usage=failure.usage or job.usage,
        response_length=len(failure.partial),
        waiting_for=None,
    )
    return transition(
        job, "failed", now=now, detail={"errorType": failure.type.value, "error": failure.message}, **(ended | fields)
    )


def _cancelled(job: Job, *, now: float, **fields: Any) -> Change:
    ended: dict[str, Any] = dict(
        state=State.CANCELLED,
        finished_at=now,
        error_type=ErrorType.CANCELLED.value,
        error="the job was cancelled",
        waiting_for=None,
    )
    return transition(job, "cancelled", now=now, **(ended | fields))


def _too_late(job: Job) -> str:
    return "the deadline passed before the call could be made" + (f" ({job.waiting_for})" if job.waiting_for else "")
