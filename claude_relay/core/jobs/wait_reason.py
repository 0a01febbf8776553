"""Why a job is not running, in the words of `waitingFor`."""

from __future__ import annotations

from datetime import datetime, timezone

from ..batches import Batch, BatchState
from .failure import THROTTLES
from .holds import BATCHES, UNREACHABLE, Holds, HoldScope
from .job import Job, State

#: Places in the queue are counted up to this number.
MAX_POSITION = 1000


def with_many_ahead(reason: str | None) -> str:
    """The reason why a job waits whose place is beyond MAX_POSITION."""
    place = f"more than {MAX_POSITION:,} ahead"

    return place if reason is None else f"{reason}; {place}"


def wait_reason(
    job: Job,
    *,
    now: float,
    holds: Holds,
    group_paused: bool,
    group_full: bool,
    budget: str | None = None,
    batch: Batch | None = None,
) -> str | None:
    """
    The first reason that applies; None where only a free slot is missing, or nothing is waited for.

    `budget`: the reason from its key's daily budget. `batch`: the batch that the job is in.
    """
    if job.state is State.HELD:
        return job.waiting_for or "held"
    if job.state is State.BATCHED:
        return _in_batch(batch, now)
    if job.state is not State.QUEUED:
        return None
    if stopped := holds.queue_wide:
        return _until(stopped[0].reason, stopped[0].until)
    if group_paused:
        return "group paused"
    if (outage := holds.in_force(UNREACHABLE)) is not None:
        return _until(outage.reason, outage.until)
    family = HoldScope.family(job.family)
    if job.due_at > now:
        if (error := job.waiting_error) in THROTTLES and error is not None:  # it waits for its model, not for a time
            throttle = holds.in_force(family)
            return _until(error.value, max(job.due_at, throttle.until or now if throttle is not None else now))
        return f"due {_clock(job.due_at, now)}" + (f" ({job.waiting_for})" if job.waiting_for else "")
    if job.lane == "batch":
        if budget:
            return budget
        if (refused := holds.in_force(BATCHES)) is not None:
            return f"batch: {_until(refused.reason, refused.until)}"
        return "batch: gathering"
    if (throttled := holds.in_force(family)) is not None:
        return _until(throttled.reason, throttled.until)
    if budget:
        return budget
    if group_full:
        return "concurrency"

    return None


def _in_batch(batch: Batch | None, now: float) -> str:
    if batch is None or batch.state is BatchState.PLANNED:
        return "batch: gathering"
    if batch.state is BatchState.CREATING:
        return "batch: being sent"
    if batch.state is BatchState.CREATED:
        return f"batch: with Claude since {_clock(batch.sent_at or batch.planned_at, now)}"

    return "batch: reading its results"


def _until(reason: str, until: float | None) -> str:
    if until is None:
        return reason

    return f"{reason} until {datetime.fromtimestamp(until, tz=timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _clock(at: float, now: float) -> str:
    """Hours and minutes in UTC, with the date where that is another day."""
    moment, today = (datetime.fromtimestamp(each, tz=timezone.utc) for each in (at, now))
    return f"{moment:%H:%M}" if moment.date() == today.date() else f"{moment:%Y-%m-%d %H:%M}"
