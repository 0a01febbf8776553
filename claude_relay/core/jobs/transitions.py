"""
Transitions of a job: each is a function from a job to a `Change`, or raises `IllegalTransition`.

    submit ─▶ queued ──claim──▶ running ──complete──▶ completed
               ▲ │  ▲              │
               │ │  ├─ fail, retryable and attempts left; release
               │ │  ├─ expire, interrupt: by onInterrupt queued, failed with the partial response, or held
               │ │  └──────────────┴─ fail for good ─▶ failed
               │ └─ cancel ─▶ cancelled ◀─ fail or complete, with a cancel requested
               └─ retry ── completed, failed, cancelled, held (a new run)

A cancel of a running job sets a mark and keeps the state. Outcomes and deliveries are added by `services/outcomes.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import Conflict, IllegalTransition
from ..backoff import exponential
from .attempts import add_costs, close_entry, last_usage
from .change import RELEASED, Call, Change, SentMark, transition
from .endings import IDLE, cancel_now, defer, fail_for_good
from .events import Event, EventName
from .failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from .fencing import deadline_after_batch, fence, fence_attempt
from .job import NOT_WAITING, Job, Lease, OnInterrupt, State

if TYPE_CHECKING:
    from ..policy import Policy


def submit(job: Job, *, now: float) -> Change:
    """The first transition: a new job (`expects` 0)."""
    event = Event(job_id=job.id, subject="job", version=job.version, at=now, name=EventName.SUBMITTED)

    return Change(job=job, expects=0, event=event)


def claim(job: Job, *, lease: Lease, now: float) -> Change:
    """
    Lease a due job to one worker, and open its entry in the ledger.

    The attempt counts from here; one that is throttled, or never sent, is given back.
    """
    if job.state is not State.QUEUED or job.due_at > now:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not due")

    number = job.calls + 1
    call = Call(
        job_id=job.id, number=number, run=job.run, started_at=now, worker=lease.worker, model=job.model, outcome=None
    )
    change = transition(
        job,
        EventName.CLAIMED,
        now=now,
        detail={"attempt": job.attempt + 1, "worker": lease.worker},
        state=State.RUNNING,
        attempt=job.attempt + 1,
        calls=number,
        lease=lease,
        sent=False,
        **NOT_WAITING,
    )
    return replace(change, call=call)


def mark_sent(job: Job, *, token: str, call: Call) -> SentMark:
    """The claimed job's call is about to send its first byte. Raises `LeaseLost` without that lease."""
    fence(job, token)

    return SentMark(job_id=job.id, call_number=call.number, token=token)


def complete(job: Job, done: Completion, *, token: str | None, call: Call, now: float) -> Change:
    """
    A complete answer. It stands, even where a cancel came too late to stop it.

    `token` None: the answer is a batch's, which the job is or was waiting for; it is billed as one.
    """
    fence_attempt(job, token, call)
    usage = done.usage
    change = transition(
        job,
        EventName.COMPLETED,
        now=now,
        detail={"attempt": job.attempt, "outputTokens": usage.get("output_tokens"), "stopReason": done.stop_reason},
        state=State.COMPLETED,
        lane=job.lane if token is not None else "batch",
        finished_at=now,
        response_length=len(done.text),
        usage=usage,
        cost_usd=add_costs(job.cost_usd, done.cost_usd),
        checks=done.checks,
        error_type=None,
        error=None,
        unsent=0,
        **IDLE,
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


def continue_call(job: Job, previous: RequestOutcome, *, token: str, call: Call, now: float) -> Change:
    """Another request of the same call: the previous request's ledger entry ends, and a new one opens."""
    fence(job, token)
    change = transition(
        job,
        EventName.RESUMED,
        now=now,
        detail={"outcome": previous.outcome, "error": previous.detail},
        calls=job.calls + 1,
        cost_usd=add_costs(job.cost_usd, previous.cost_usd),
    )
    ended = replace(
        call,
        ended_at=now,
        sent=True,
        outcome=previous.outcome,
        detail=previous.detail,
        usage=previous.usage,
        cost_usd=previous.cost_usd,
        model=previous.model or call.model,
        upstream_request_id=previous.upstream_request_id or call.upstream_request_id,
        first_byte_at=previous.first_byte_at or call.first_byte_at,
        text_length=previous.text_length,
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
    A failed attempt: retried later, with or without counting, or final (the table of `CONTRACT.md` §5).

    `token` None: the attempt was an item of a batch.
    """
    fence_attempt(job, token, call)
    ended = close_entry(call, failure, now=now)
    fields = dict(
        ambiguous=job.ambiguous or failure.ambiguous,
        cost_usd=add_costs(job.cost_usd, failure.cost_usd),
        deadline_at=deadline_after_batch(job, call, now=now),
        **IDLE,
    )

    if job.cancel_requested_at is not None:
        fields |= dict(usage=failure.usage or job.usage, response_length=len(failure.partial))
        return replace(cancel_now(job, now=now, **fields), call=ended)
    if failure.remedy is Remedy.FAIL:
        return replace(fail_for_good(job, failure, now=now, **fields), call=ended)
    if failure.remedy in (Remedy.THROTTLE, Remedy.PARK):
        delay = failure.retry_after
        if failure.remedy is Remedy.PARK:
            delay = 0.0  # the park holds it back, and it goes on the moment the park ends
        elif delay is None:
            delay = exponential(3, base=policy.backoff_base, cap=policy.backoff_max, chance=chance)
        change = defer(job, failure, due_at=now + delay, now=now, attempt=max(job.attempt - 1, 0), **fields)
        return replace(change, call=ended)

    failures = job.failures + 1
    if failures >= policy.call_attempts:
        return replace(fail_for_good(job, failure, now=now, failures=failures, **fields), call=ended)

    delay = exponential(failures, base=policy.backoff_base, cap=policy.backoff_max, chance=chance)
    delay = max(delay, failure.retry_after or 0.0)
    return replace(defer(job, failure, due_at=now + delay, now=now, failures=failures, **fields), call=ended)


def release(job: Job, *, token: str, call: Call, now: float) -> Change:
    """Return a claimed job unsent: due again at once, the attempt not counted; cancelled if that was requested."""
    fence(job, token)
    ended = replace(call, ended_at=now, outcome=RELEASED)
    if job.cancel_requested_at is not None:
        return replace(cancel_now(job, now=now, **IDLE), call=ended)

    change = transition(
        job,
        EventName.RELEASED,
        now=now,
        state=State.QUEUED,
        attempt=max(job.attempt - 1, 0),
        due_at=min(job.due_at, now),
        **IDLE,
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
    The worker died during the call, or a planned stop outlasted its drain.

    A call that was not sent is returned free of charge, a little later each time, so that a job that kills its worker
    cannot spin. One that was sent is ambiguous, and `onInterrupt` decides.
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
        outcome="interrupted" if job.sent else RELEASED,
        detail=why,
        first_byte_at=partial.first_byte_at or call.first_byte_at,
        usage=last_usage(partial) or call.usage,
        cost_usd=cost,
        upstream_request_id=partial.upstream_request_id or call.upstream_request_id,
        text_length=len(partial.text),
    )
    if job.cancel_requested_at is not None:
        fields = dict(
            ambiguous=job.ambiguous or job.sent,
            cost_usd=add_costs(job.cost_usd, cost),
            usage=partial.usage or job.usage,
            response_length=len(partial.text),
            **IDLE,
        )
        return replace(cancel_now(job, now=now, **fields), call=ended)
    if not job.sent:
        unsent = job.unsent + 1
        delay = 0.0
        if unsent > 1:
            delay = exponential(unsent, base=policy.backoff_base, cap=policy.backoff_max, chance=chance)
        change = transition(
            job,
            EventName.RELEASED,
            now=now,
            detail={"why": why},
            state=State.QUEUED,
            attempt=max(job.attempt - 1, 0),
            unsent=unsent,
            due_at=now + delay,
            **IDLE,
        )
        return replace(change, call=ended)

    failure = Failure(
        type=ErrorType.INTERRUPTED,
        message=f"the call was interrupted: {why}",
        remedy=Remedy.RETRY,
        partial=partial.text,
        usage=partial.usage,
    )
    spent = add_costs(job.cost_usd, cost)
    counts = dict(interruptions=job.interruptions + 1, ambiguous=True, cost_usd=spent, **IDLE)
    if job.on_interrupt is OnInterrupt.HOLD:
        change = transition(
            job,
            EventName.HELD,
            now=now,
            detail={"why": why},
            state=State.HELD,
            waiting_for=f"held: {failure.message}",
            waiting_error=failure.type,
            **counts,
        )
    elif job.on_interrupt is OnInterrupt.PARTIAL or job.interruptions >= policy.interrupted_attempts:
        change = fail_for_good(job, failure, now=now, **counts)
    else:
        change = defer(job, failure, due_at=now, now=now, **counts)

    return replace(change, call=ended)


def cancel(job: Job, *, now: float) -> Change:
    """Stop a job: at once where nothing runs, else at the stream's next event."""
    if job.state is State.RUNNING:
        if job.cancel_requested_at is not None:
            raise Conflict(f"job {job.request_id} is being cancelled already")
        return transition(job, EventName.CANCEL_REQUESTED, now=now, cancel_requested_at=now)
    if job.state is State.BATCHED:
        raise IllegalTransition(f"job {job.request_id} is in a batch: `batch_transitions.end_in_batch` ends it")
    if job.state is State.COLLECTION:
        raise Conflict(f"job {job.request_id} is a collection, which is cancelled by its rows")
    if job.state.final:
        raise Conflict(f"job {job.request_id} has already {_ENDED[job.state]}: there is nothing left to cancel")

    return cancel_now(job, now=now)


def expire(job: Job, *, now: float) -> Change:
    """End a waiting job whose deadline has passed."""
    if job.state is not State.QUEUED or job.deadline_at is None or job.deadline_at > now:
        raise IllegalTransition(f"job {job.request_id} is not past its deadline")

    message = "the deadline passed before the call could be made" + (f" ({job.waiting_for})" if job.waiting_for else "")
    failure = Failure(type=ErrorType.DEADLINE, message=message, remedy=Remedy.FAIL)
    return fail_for_good(job, failure, now=now)


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
    """A new run of the same job: counts, deadline and outcome are reset; the ledger keeps its entries."""
    if not job.state.final and job.state is not State.HELD:
        raise Conflict(f"job {job.request_id} is {_ACTIVE[job.state]}: it can be retried once it has ended")

    return transition(
        job,
        EventName.RETRIED,
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
        finished_at=None,
        error_type=None,
        error=None,
        response_length=0,
        usage=None,
        cost_usd=None,
        checks=None,
        **NOT_WAITING,
        **IDLE,
    )


_ENDED = {State.COMPLETED: "completed", State.FAILED: "failed", State.CANCELLED: "been cancelled"}
_ACTIVE = {
    State.QUEUED: "waiting",
    State.RUNNING: "running",
    State.BATCHED: "in a batch",
    State.COLLECTION: "a collection",
}
