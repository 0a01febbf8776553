"""Fencing: a late result must not overwrite a later one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import LeaseLost
from .job import Job, State

if TYPE_CHECKING:
    from .change import Call


def fence(job: Job, token: str) -> None:
    """Refuse a write under a lease that the job no longer has. Raises `LeaseLost`."""
    if job.lease is None or job.lease.token != token:
        raise LeaseLost(f"the lease on job {job.request_id} was lost: another worker has it, or it has ended")


def fence_attempt(job: Job, token: str | None, call: Call) -> None:
    """Fence the result of a batch (no token) by the number of its attempt: a later attempt has another number."""
    if token is not None:
        fence(job, token)
    elif job.state not in (State.BATCHED, State.QUEUED) or (job.calls, job.run) != (call.number, call.run):
        raise LeaseLost(f"job {job.request_id} no longer waits for the batch it was in")


def deadline_after_batch(job: Job, call: Call, *, now: float) -> float | None:
    """The deadline of a job that leaves its batch: a default deadline did not run while it was in there."""
    if job.state is not State.BATCHED or job.deadline_at is None or job.deadline_asked:
        return job.deadline_at

    return job.deadline_at + max(0.0, now - call.started_at)
