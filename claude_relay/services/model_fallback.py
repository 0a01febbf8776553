"""Which model a job asks just now: the one that was named, a fallback, or the default where that one is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core.intake.fields import Diagnostics
from ..core.jobs import fallback
from ..core.jobs.holds import HoldKind, Holds
from ..core.jobs.job import Job
from ..core.jobs.submission import StoredRequest
from ..core.models.capabilities import fit_request
from ..core.models.catalog import resolve
from ..ports import ReadTransaction, Transaction
from .context import Context

#: A hold of a family that follows another one within so many seconds is the same trouble.
SAME_TROUBLE = 120.0
_STEP = 100


def throttled_families(tx: ReadTransaction) -> set[str]:
    """Families of models that are held just now."""
    return Holds(tx.holds(), tx.now).throttled_families


def due_for_fallback(tx: ReadTransaction, patience: float) -> Sequence[tuple[Job, str]]:
    """Jobs that may turn to another model, as theirs has been held for longer than that, and the model."""
    holds = Holds(tx.holds(), tx.now)
    closed = holds.throttled_families
    long = [
        family
        for family, hold in holds.of_kind(HoldKind.FAMILY).items()
        if family in closed
        and tx.now - hold.since >= patience
        and hold.reason in fallback.SWITCHABLE  # not for what this machine lacks
    ]
    jobs = tx.fallback_candidates(long, limit=_STEP) if long else ()

    return [
        (job, model)
        for job in jobs
        if fallback.waits_for_family(job, now=tx.now) and (model := fallback.next_model(job, closed)) is not None
    ]


def replace_retired_model(tx: Transaction, job: Job, context: Context) -> Job:
    """The job, turned to the default where its model was retired while it waited."""
    if job.model == context.policy.model:
        return job
    model, _ = resolve_model(job.model, context, now=tx.now)
    if model == job.model:
        return job
    change = fallback.switch_model(job, model, why="retired", now=tx.now)
    tx.save(change)

    return change.job


def resolve_model(model: str, context: Context, *, now: float) -> tuple[str, tuple[str, ...]]:
    """The model to ask for one that was named earlier, and what to say of it: it may be gone by now."""
    if context.policy.model is None:
        return model, ()
    try:
        return resolve(model, default=context.policy.model, catalogue=context.model_catalog(), now=now)
    except ValueError:  # a gateway's name for it
        return model, ()


def adapt_options(model: str, options: dict[str, Any], context: Context) -> tuple[dict[str, Any], list[str]]:
    """The options as that model takes them, and what was dropped."""
    notes = Diagnostics()

    return fit_request({**options, "model": model}, context.model_catalog().listed(model), notes), notes.warnings


def adapt_request(request: StoredRequest, job: Job, context: Context) -> StoredRequest:
    """What is asked of the model that the job asks now: without what that one does not take."""
    options, _ = _fit(request, job, context)

    return request if options is None else replace(request, request={**request.request, "options": options})


def warnings(tx: ReadTransaction, job: Job, request: StoredRequest, context: Context) -> list[str]:
    """What the one who gets the answer should know of this run: the models that were asked, a batch that it left."""
    options, dropped = _fit(request, job, context)
    if options is None and job.mode == "live":
        return []  # nothing to tell, as nearly always
    said: list[str] = []
    for event in tx.events(job.id):
        if event.name == "retried":
            said = []
        elif event.name == "turned" and options is not None:
            said.append(fallback.describe_switch(event.detail))
        elif "warning" in event.detail:
            said.append(event.detail["warning"])

    return [*said, *dropped]


def _fit(request: StoredRequest, job: Job, context: Context) -> tuple[dict[str, Any] | None, list[str]]:
    """The options for another model than the one they were written for, and what was dropped; None: it is that one."""
    options = request.request.get("options") or {}
    if not job.model or options.get("model", job.model) == job.model:
        return None, []
    raw = {name: value for name, value in (options.get("raw") or {}).items() if name != "model"}

    return adapt_options(job.model, {**options, "raw": raw}, context)
