"""
The moves of a job on the batch's road: functions from a job to a `Change`, as in `machine`.

    queued ──gather──▶ batched ──complete, fail (in `machine`)──▶ completed, failed, or queued again
      ▲ │                │ │ └─ withdraw ─▶ cancelled; failed, past the deadline that was asked for
      │ └─ promote ──────┤ └─ promote ─▶ queued, to be called live
      └── ungather ──────┘

No worker holds a batched job: what comes of its batch is fenced by the number of the try.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import IllegalTransition
from .attempts import add_costs
from .change import Call, Change, transition
from .failure import ErrorType
from .fencing import deadline_after_batch
from .job import Job, State


def enter_batch(job: Job, *, worker: str, now: float) -> Change:
    """Put a due job into a batch, and open its entry in the ledger. The attempt counts from here."""
    if job.state is not State.QUEUED or job.lane != "batch" or job.due_at > now:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not due for a batch")

    number = job.calls + 1
    call = Call(job_id=job.id, number=number, run=job.run, started_at=now, worker=worker, model=job.model, mode="batch")
    change = transition(
        job,
        "gathered",
        now=now,
        detail={"attempt": job.attempt + 1},
        state=State.BATCHED,
        attempt=job.attempt + 1,
        calls=number,
        sent=False,
        waiting_for=None,
    )
    return replace(change, call=call)


def leave_batch(job: Job, *, call: Call, now: float, why: str, live: bool = False) -> Change:
    """Its batch never came to be: back, and nothing is counted; `live`: to be called instead."""
    _require_batched(job, call)
    change = transition(
        job,
        "ungathered",
        now=now,
        detail={"why": why},
        state=State.QUEUED,
        lane="live" if live else job.lane,
        attempt=max(job.attempt - 1, 0),
        deadline_at=deadline_after_batch(job, call, now=now),
        due_at=now,
        sent=False,
    )
    return replace(change, call=replace(call, ended_at=now, sent=False, outcome="released", detail=why))


def promote(job: Job, *, call: Call | None, now: float, paid: bool = False) -> Change:
    """
    A batch would be, or was, too slow: call it live, with the place in the queue it would have had as a live job.

    `paid`: its item may be answered and billed all the same.
    """
    fields: dict[str, Any] = dict(
        state=State.QUEUED,
        lane="live",
        due_at=min(job.due_at, now),  # since when it has waited: a head start would be its for every later try, too
        waiting_for=None,
        sent=False,
        ambiguous=job.ambiguous or paid,
    )
    if job.state is State.QUEUED and job.lane == "batch":
        return transition(job, "promoted", now=now, **fields)
    if call is None:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not waiting for a batch")

    _require_batched(job, call)
    change = transition(
        job, "promoted", now=now, detail={"paid": paid}, deadline_at=deadline_after_batch(job, call, now=now), **fields
    )
    why = "not back in time" if paid else "given up before Claude came to it"
    return replace(change, call=replace(call, ended_at=now, sent=job.sent, outcome="given_up", detail=why))


def end_in_batch(job: Job, *, call: Call, now: float, deadline: bool = False) -> Change:
    """End a job that is in a batch: cancelled, or past its deadline. What its item costs is booked when it comes."""
    _require_batched(job, call)
    kind = ErrorType.DEADLINE if deadline else ErrorType.CANCELLED
    words = "the deadline passed while the job was in a batch" if deadline else "the job was cancelled"
    change = transition(
        job,
        "failed" if deadline else "cancelled",
        now=now,
        detail={"errorType": kind.value, "error": words} if deadline else None,
        state=State.FAILED if deadline else State.CANCELLED,
        finished_at=now,
        error_type=kind.value,
        error=words,
        waiting_for=None,
        ambiguous=job.ambiguous or job.sent,
        sent=False,
    )
    return replace(change, call=replace(call, ended_at=now, sent=job.sent, outcome=kind.value, detail=words))


def record_late_cost(
    job: Job, *, call: Call, usage: dict[str, int] | None, cost_usd: float | None, model: str, now: float
) -> Change:
    """
    The answer of an item nobody waits for any more: it is dropped, and what it cost is in the ledger.

    The job's own cost is its present run's: what an earlier one had sent is not on its bill.
    """
    spent = add_costs(job.cost_usd, cost_usd) if call.run == job.run else job.cost_usd
    change = transition(job, "late_result", now=now, detail={"call": call.number, "costUsd": cost_usd}, cost_usd=spent)
    detail = "; ".join(part for part in (call.detail, "its answer came too late and was paid for") if part)

    return replace(
        change, call=replace(call, sent=True, usage=usage, cost_usd=cost_usd, model=model or call.model, detail=detail)
    )


def _require_batched(job: Job, call: Call) -> None:
    if job.state is not State.BATCHED or job.calls != call.number:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not in that batch")
