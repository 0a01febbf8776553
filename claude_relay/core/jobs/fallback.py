"""
Fallback to another model: after a refusal, or when a model's family has been overloaded for long.

Opt-in: a job without `fallbacks` keeps its model. The list only gets shorter, so that no run goes round in circles, and
an error that would occur with any model (a bad request, a spent budget, a deadline) is never retried with another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ...errors import IllegalTransition
from .change import Change, transition
from .endings import IDLE
from .events import EventName
from .failure import THROTTLES, ErrorType, Failure
from .job import NOT_WAITING, Job, State, family_of

_REASONS = {
    "refused": "declined to answer",
    "overloaded": "was overloaded for long",
    "retired": "was retired before the call was made",
}


def next_model(job: Job, throttled: Collection[str]) -> str | None:
    """The first fallback of a family that is not throttled; None where there is none."""
    return next((model for model in job.fallbacks if family_of(model) not in throttled), None)


def fall_back(change: Change, failure: Failure, *, throttled: Collection[str]) -> Change:
    """
    Replace a final failure by a switch of the model, where another model may do better: the job waits again.

    A refusal after a part of an answer is an answer of a kind, and stays final.
    """
    job, previous = change.job, change.previous
    refused = failure.type is ErrorType.REFUSED and not failure.partial
    if job.state is not State.FAILED or previous is None or not (refused or failure.type in THROTTLES):
        return change
    model = next_model(previous, throttled) or (previous.fallbacks[0] if refused and previous.fallbacks else None)
    if model is None:
        return change

    why = "refused" if refused else "overloaded"
    switched = switch_model(previous, model, why=why, now=change.event.at, running=True)
    kept: dict[str, Any] = dict(ambiguous=job.ambiguous, cost_usd=job.cost_usd, deadline_at=job.deadline_at)

    return replace(change, job=replace(switched.job, **kept), event=switched.event)


def waits_for_family(job: Job, *, now: float) -> bool:
    """Whether only its family's throttle holds it back: it is due, or was deferred for that very reason."""
    return job.due_at <= now or job.waiting_error in THROTTLES


def switch_model(job: Job, model: str, *, why: str, now: float, running: bool = False) -> Change:
    """
    Ask another model from now on; its failures are counted from zero, its cost stays.

    `running`: the attempt that led to this ends with it.
    """
    if job.state is not (State.RUNNING if running else State.QUEUED) and job.state is not State.BATCHED:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}: its model stays")

    return transition(
        job,
        EventName.SWITCHED,
        now=now,
        detail={"from": job.model, "to": model, "why": why},
        state=State.QUEUED,
        model=model,
        fallbacks=tuple(name for name in job.fallbacks if name != model),
        failures=0,
        due_at=now if why != "retired" else job.due_at,
        **NOT_WAITING,
        **IDLE,
    )


def describe_switch(detail: Mapping[str, Any]) -> str:
    """The warning for a switch, from the detail of its event."""
    reason = _REASONS.get(str(detail.get("why")), "could not answer")

    return f"{detail.get('from')} {reason}; {detail.get('to')} was asked instead"
