"""Why a job is not running, in the words of `waitingFor`."""

from __future__ import annotations

from datetime import datetime, timezone

from .job import Job, State


def waiting_for(
    job: Job,
    *,
    now: float,
    holds: dict[str, tuple[str, float | None]],
    group_paused: bool,
    group_full: bool,
    spent_out: bool = False,
) -> str | None:
    """
    The first reason that stands, or None where only a free slot is missing or nothing is waited for.

    `holds` by scope: (reason, until).
    """
    if job.state is State.HELD:
        return job.waiting_for or "held"
    if job.state is not State.QUEUED:
        return None
    if "pause" in holds:
        return "paused"
    if "park" in holds:
        return _until(*holds["park"])
    if group_paused:
        return "group paused"
    if job.due_at > now:
        return f"due {_clock(job.due_at, now)}" + (f" ({job.waiting_for})" if job.waiting_for else "")
    if (family := f"family:{job.family}") in holds and (holds[family][1] or 0.0) > now:
        return _until(*holds[family])
    if spent_out:
        return "daily budget of its key"
    if group_full:
        return "concurrency"

    return None


def _until(reason: str, until: float | None) -> str:
    return (
        reason
        if until is None
        else f"{reason} until {datetime.fromtimestamp(until, tz=timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    )


def _clock(at: float, now: float) -> str:
    """Hours and minutes, in UTC as every time here; with the date where that is another day."""
    moment, today = (datetime.fromtimestamp(each, tz=timezone.utc) for each in (at, now))
    return f"{moment:%H:%M}" if moment.date() == today.date() else f"{moment:%Y-%m-%d %H:%M}"
