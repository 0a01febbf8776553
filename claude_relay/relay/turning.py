"""Which model a job asks just now: the one that was named, a fallback, or the default where that one is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core import fallback
from ..core.catalogue import resolve
from ..core.intake.fields import Notes
from ..core.intake.fitting import fit
from ..core.job import Job
from ..core.submission import Request
from ..ports import Unit, View
from .values import Tools

#: A hold of a family that follows another one within so many seconds is the same trouble.
SAME_TROUBLE = 120.0
_STEP = 100


def closed_families(view: View) -> set[str]:
    """Families of models that are held just now."""
    return {
        hold.scope.removeprefix("family:")
        for hold in view.holds()
        if hold.scope.startswith("family:") and (hold.until or 0.0) > view.now
    }


def waiting_too_long(view: View, patience: float) -> Sequence[tuple[Job, str]]:
    """Jobs that may turn to another model, as theirs has been held for longer than that, and the model."""
    closed = closed_families(view)
    long = [
        hold.scope.removeprefix("family:")
        for hold in view.holds()
        if hold.scope.removeprefix("family:") in closed
        and view.now - hold.since >= patience
        and hold.reason in fallback.ELSEWHERE  # not for what this machine lacks
    ]
    jobs = view.turnable(long, limit=_STEP) if long else ()

    return [
        (job, model)
        for job in jobs
        if fallback.waits_for_its_family(job, now=view.now) and (model := fallback.chosen(job, closed)) is not None
    ]


def up_to_date(unit: Unit, job: Job, tools: Tools) -> Job:
    """The job, turned to the default where its model was retired while it waited."""
    if job.model == tools.policy.model:
        return job
    model, _ = named(job.model, tools, now=unit.now)
    if model == job.model:
        return job
    change = fallback.turn(job, model, why="retired", now=unit.now)
    unit.save(change)

    return change.job


def named(model: str, tools: Tools, *, now: float) -> tuple[str, tuple[str, ...]]:
    """The model to ask for one that was named earlier, and what to say of it: it may be gone by now."""
    if tools.policy.model is None:
        return model, ()
    try:
        return resolve(model, default=tools.policy.model, catalogue=tools.known(), now=now)
    except ValueError:  # a gateway's name for it
        return model, ()


def fitted_to(model: str, options: dict[str, Any], tools: Tools) -> tuple[dict[str, Any], list[str]]:
    """The options as that model takes them, and what was dropped."""
    notes = Notes()

    return fit({**options, "model": model}, tools.known().listed(model), notes), notes.warnings


def fitted(request: Request, job: Job, tools: Tools) -> Request:
    """What is asked of the model that the job asks now: without what that one does not take."""
    options, _ = _fit(request, job, tools)

    return request if options is None else replace(request, request={**request.request, "options": options})


def warnings(view: View, job: Job, request: Request, tools: Tools) -> list[str]:
    """What the one who gets the answer should know of this run: the models that were asked, a batch that it left."""
    options, dropped = _fit(request, job, tools)
    if options is None and job.mode == "live":
        return []  # nothing to tell, as nearly always
    said: list[str] = []
    for event in view.events(job.id):
        if event.name == "retried":
            said = []
        elif event.name == "turned" and options is not None:
            said.append(fallback.told(event.detail))
        elif "warning" in event.detail:
            said.append(event.detail["warning"])

    return [*said, *dropped]


def _fit(request: Request, job: Job, tools: Tools) -> tuple[dict[str, Any] | None, list[str]]:
    """The options for another model than the one they were written for, and what was dropped; None: it is that one."""
    options = request.request.get("options") or {}
    if not job.model or options.get("model", job.model) == job.model:
        return None, []
    raw = {name: value for name, value in (options.get("raw") or {}).items() if name != "model"}

    return fitted_to(job.model, {**options, "raw": raw}, tools)
