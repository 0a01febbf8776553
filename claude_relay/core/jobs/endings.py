"""Parts that transitions share: an attempt that is retried later, a failed run, a cancelled run."""

from __future__ import annotations

from typing import Any

from ...errors import IllegalTransition
from .change import Change, transition
from .events import EventName
from .failure import ErrorType, Failure
from .job import NOT_WAITING, Job, State

#: The fields of a job that no worker holds.
IDLE: dict[str, Any] = {"lease": None, "sent": False}


def defer(job: Job, failure: Failure, *, due_at: float, now: float, **fields: Any) -> Change:
    """Queue a job again after a failed attempt."""
    detail = {"errorType": failure.type.value, "error": failure.message, "dueAt": due_at, "reason": failure.reason}

    return transition(
        job,
        EventName.DEFERRED,
        now=now,
        detail=detail,
        state=State.QUEUED,
        due_at=due_at,
        waiting_for=f"{failure.type.value}: {failure.message}",
        waiting_error=failure.type,
        **fields,
    )


def fail_for_good(job: Job, failure: Failure, *, now: float, **fields: Any) -> Change:
    """End a run as failed."""
    ended: dict[str, Any] = dict(
        state=State.FAILED,
        finished_at=now,
        error_type=failure.type.value,
        error=failure.message,
        usage=failure.usage or job.usage,
        response_length=len(failure.partial),
        checks=failure.checks,
        **NOT_WAITING,
    )
    detail = {"errorType": failure.type.value, "error": failure.message}

    return transition(job, EventName.FAILED, now=now, detail=detail, **(ended | fields))


def reject(job: Job, failure: Failure, *, now: float) -> Change:
    """Fail a waiting job that cannot be called."""
    if job.state is not State.QUEUED:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not waiting")

    return fail_for_good(job, failure, now=now)


def cancel_now(job: Job, *, now: float, **fields: Any) -> Change:
    """End a run as cancelled."""
    ended: dict[str, Any] = dict(
        state=State.CANCELLED,
        finished_at=now,
        error_type=ErrorType.CANCELLED.value,
        error="the job was cancelled",
        **NOT_WAITING,
    )
    return transition(job, EventName.CANCELLED, now=now, **(ended | fields))


def complete_sample(job: Job, text: str, *, now: float) -> Change:
    """End a waiting job with a text of the relay: no call is made, and nothing is paid."""
    if job.state is not State.QUEUED:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}, not waiting")

    return transition(
        job,
        EventName.COMPLETED,
        now=now,
        state=State.COMPLETED,
        finished_at=now,
        response_length=len(text),
        usage={},
        cost_usd=0.0,
        **NOT_WAITING,
    )
