"""
Another model where the first cannot answer: after a refusal, or when its family has been overloaded for long.

Opt-in: a job without `fallbacks` keeps to its model. The list only gets shorter, so that no run goes round in circles,
and what would fail anywhere (a bad request, a spent budget, a deadline) is never tried elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ...errors import IllegalTransition
from .change import Change, transition
from .failure import ErrorType, Failure
from .job import Job, State, family_of

#: The ends that another family of models may not meet, and the reasons of a hold that are the same.
SWITCHABLE = (ErrorType.OVERLOADED, ErrorType.RATE_LIMIT)
_WAITS = tuple(f"{kind.value}:" for kind in SWITCHABLE)

_WHY = {
    "refused": "declined to answer",
    "overloaded": "was overloaded for long",
    "retired": "was retired before the call was made",
}


def next_model(job: Job, closed: Collection[str]) -> str | None:
    """The next model to ask, of a family that is not held just now; None where there is none."""
    return next((model for model in job.fallbacks if family_of(model) not in closed), None)


def fall_back(change: Change, failure: Failure, *, closed: Collection[str]) -> Change:
    """
    The move that a failure for good becomes where another model may do better: the same try ends, the job waits again.

    Declined with half an answer out is an answer of a kind, and stays the end.
    """
    job, before = change.job, change.before
    refused = failure.type is ErrorType.REFUSED and not failure.partial
    if job.state is not State.FAILED or before is None or not (refused or failure.type in SWITCHABLE):
        return change
    model = next_model(before, closed) or (before.fallbacks[0] if refused and before.fallbacks else None)
    if model is None:
        return change

    turned = switch_model(before, model, why="refused" if refused else "overloaded", now=change.event.at, running=True)
    kept: dict[str, Any] = dict(ambiguous=job.ambiguous, cost_usd=job.cost_usd, deadline_at=job.deadline_at)

    return replace(change, job=replace(turned.job, **kept), event=turned.event)


def waits_for_family(job: Job, *, now: float) -> bool:
    """Whether only its family's hold keeps it: it is due, or was put off for that very reason."""
    return job.due_at <= now or (job.waiting_for or "").startswith(_WAITS)


def switch_model(job: Job, model: str, *, why: str, now: float, running: bool = False) -> Change:
    """
    Ask another model from now on; its tries begin anew, what was spent stays.

    `running`: the try that led to this ends with it.
    """
    if job.state is not (State.RUNNING if running else State.QUEUED) and job.state is not State.BATCHED:
        raise IllegalTransition(f"job {job.request_id} is {job.state.value}: its model stays")

    return transition(
        job,
        "turned",
        now=now,
        detail={"from": job.model, "to": model, "why": why},
        state=State.QUEUED,
        model=model,
        fallbacks=tuple(name for name in job.fallbacks if name != model),
        lease=None,
        sent=False,
        failures=0,
        due_at=now if why != "retired" else job.due_at,
        waiting_for=None,
    )


def describe_switch(detail: Mapping[str, Any]) -> str:
    """That move as a warning."""
    why = _WHY.get(str(detail.get("why")), "could not answer")

    return f"{detail.get('from')} {why}; {detail.get('to')} was asked instead"
