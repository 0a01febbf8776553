"""Whose a job is just now: what keeps a late result from overwriting a later one."""

from __future__ import annotations

from ...errors import LeaseLost
from .change import Call
from .job import Job, State


def fence(job: Job, token: str) -> None:
    """Refuse the work of a worker whose lease was taken."""
    if job.lease is None or job.lease.token != token:
        raise LeaseLost(f"the lease on job {job.request_id} was lost: another worker has it, or it has ended")


def deadline_after_batch(job: Job, call: Call, *, now: float) -> float | None:
    """Its deadline, once it comes out of a batch: a default one stood still in there."""
    if job.state is not State.BATCHED or job.deadline_at is None or job.deadline_asked:
        return job.deadline_at

    return job.deadline_at + max(0.0, now - call.started_at)


def fence_attempt(job: Job, token: str | None, call: Call) -> None:
    """What comes out of a batch (no token) is fenced by the number of its try: a later one has another."""
    if token is not None:
        fence(job, token)
    elif job.state not in (State.BATCHED, State.QUEUED) or (job.calls, job.run) != (call.number, call.run):
        raise LeaseLost(f"job {job.request_id} no longer waits for the batch it was in")
