"""
Transitions of a job in batches: functions from a job to a `Change`, as in `transitions.py`.

    queued ──enter_batch──▶ batched ──complete, fail──▶ completed, failed, or queued again
      ▲ │                     │ │ └─ end_in_batch ─▶ cancelled; failed, past a requested deadline
      │ └─ promote ───────────┤ └─ promote ─▶ queued, to be called live
      └─── leave_batch ───────┘

No worker has a lease on a batched job: the results of its batch are fenced by the number of the attempt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import IllegalTransition
from . import transitions
from .attempts import add_costs
from .change import RELEASED, Call, Change, transition, with_warning
from .events import EventName
from .failure import ErrorType, Failure, Remedy
from .fencing import deadline_after_batch
from .job import NOT_WAITING, Job, State

if TYPE_CHECKING:
    from ..policy import Policy

#: Failures that only a live call can settle: a batch cannot continue after a pause, ask for a schema in the prompt, or
#: upload its files first.
LIVE_ONLY_ERRORS = ("pause_turn", "schema_refused", "item_too_large", "workspace_human_review_disabled")


def enter_batch(job: Job, *, worker: str, now: float) -> Change:
    """Put a due job into a batch, and open its entry in the ledger. The attempt counts from here."""
    if job.state is not State.QUEUED or job.lane != "batch" or job.due_at > now:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not due for a batch")

    number = job.calls + 1
    call = Call(job_id=job.id, number=number, run=job.run, started_at=now, worker=worker, model=job.model, mode="batch")
    change = transition(
        job,
        EventName.BATCHED,
        now=now,
        detail={"attempt": job.attempt + 1},
        state=State.BATCHED,
        attempt=job.attempt + 1,
        calls=number,
        sent=False,
        **NOT_WAITING,
    )
    return replace(change, call=call)


def leave_batch(job: Job, *, call: Call, now: float, why: str, live: bool = False) -> Change:
    """Queue a job again whose batch was never created; nothing is counted. `live`: to be called live."""
    _require_batched(job, call)
    change = transition(
        job,
        EventName.UNBATCHED,
        now=now,
        detail={"why": why},
        state=State.QUEUED,
        lane="live" if live else job.lane,
        attempt=max(job.attempt - 1, 0),
        deadline_at=deadline_after_batch(job, call, now=now),
        due_at=now,
        sent=False,
    )
    return replace(change, call=replace(call, ended_at=now, sent=False, outcome=RELEASED, detail=why))


def fail(job: Job, failure: Failure, *, call: Call, policy: Policy, now: float, chance: float) -> Change:
    """
    A failed item, by the same table as a live attempt.

    A failure in `LIVE_ONLY_ERRORS` does not count: the job is called live at once, which settles it in one attempt.
    """
    to_live = failure.reason in LIVE_ONLY_ERRORS
    if to_live:
        failure = replace(failure, remedy=Remedy.THROTTLE, retry_after=0.0)
    change = transitions.fail(job, failure, token=None, call=call, policy=policy, now=now, chance=chance)
    if not to_live or change.job.state is not State.QUEUED:
        return change

    change = replace(change, job=replace(change.job, lane="live"))
    return with_warning(change, f"it left its batch and was called live, at the full price: {failure.message}")


def promote(job: Job, *, call: Call | None, now: float, paid: bool = False) -> Change:
    """
    Call a job live, as its batch would be or was too slow.

    Its place in the queue is that of a live job.

    `paid`: its item may be answered and billed all the same.
    """
    fields: dict[str, Any] = dict(
        state=State.QUEUED,
        lane="live",
        due_at=min(job.due_at, now),  # the start of its wait; a head start would apply to every later attempt, too
        sent=False,
        ambiguous=job.ambiguous or paid,
        **NOT_WAITING,
    )
    if job.state is State.QUEUED and job.lane == "batch":
        return transition(job, EventName.PROMOTED, now=now, **fields)
    if call is None:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not waiting for a batch")

    _require_batched(job, call)
    fields["deadline_at"] = deadline_after_batch(job, call, now=now)
    change = transition(job, EventName.PROMOTED, now=now, detail={"paid": paid}, **fields)
    why = "not back in time" if paid else "given up before Claude came to it"
    return replace(change, call=replace(call, ended_at=now, sent=job.sent, outcome="given_up", detail=why))


def end_in_batch(job: Job, *, call: Call, now: float, deadline: bool = False) -> Change:
    """End a batched job: cancelled, or past its deadline. The cost of its item is booked when the result arrives."""
    _require_batched(job, call)
    kind = ErrorType.DEADLINE if deadline else ErrorType.CANCELLED
    message = "the deadline passed while the job was in a batch" if deadline else "the job was cancelled"
    change = transition(
        job,
        EventName.FAILED if deadline else EventName.CANCELLED,
        now=now,
        detail={"errorType": kind.value, "error": message} if deadline else None,
        state=State.FAILED if deadline else State.CANCELLED,
        finished_at=now,
        error_type=kind.value,
        error=message,
        ambiguous=job.ambiguous or job.sent,
        sent=False,
        **NOT_WAITING,
    )
    return replace(change, call=replace(call, ended_at=now, sent=job.sent, outcome=kind.value, detail=message))


def record_late_cost(
    job: Job, *, call: Call, usage: dict[str, int] | None, cost_usd: float | None, model: str | None, now: float
) -> Change:
    """
    Book the cost of a result that no job waits for any more; its answer is dropped.

    The job's own cost is that of its present run: the items of an earlier run are in the ledger only.
    """
    spent = add_costs(job.cost_usd, cost_usd) if call.run == job.run else job.cost_usd
    event_detail = {"call": call.number, "costUsd": cost_usd}
    change = transition(job, EventName.LATE_RESULT, now=now, detail=event_detail, cost_usd=spent)
    detail = "; ".join(part for part in (call.detail, "its answer came too late and was paid for") if part)

    return replace(
        change, call=replace(call, sent=True, usage=usage, cost_usd=cost_usd, model=model or call.model, detail=detail)
    )


def _require_batched(job: Job, call: Call) -> None:
    if job.state is not State.BATCHED or job.calls != call.number:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not in that batch")
