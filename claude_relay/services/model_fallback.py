"""
The model that a job asks.

The one that was named, a fallback, or the default where that one was retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.intake.fields import Diagnostics
from ..core.jobs import fallback
from ..core.jobs.events import EventName
from ..core.jobs.failure import THROTTLES
from ..core.jobs.holds import HoldKind
from ..core.models.capabilities import fit_request
from ..core.models.catalog import resolve
from .holds import load_holds

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.submission import StoredRequest
    from ..ports import ReadTransaction, Transaction
    from .context import Context

#: Seconds: a throttle of a family that follows another one so soon is the same one, and keeps its start.
SAME_THROTTLE = 120.0
_STEP = 100


def due_for_fallback(tx: ReadTransaction, patience: float) -> Sequence[tuple[Job, str]]:
    """Jobs that may switch to another model, as theirs is throttled for longer than that, and the model."""
    holds = load_holds(tx)
    throttled = holds.throttled_families
    families = [
        family
        for family, hold in holds.of_kind(HoldKind.FAMILY).items()
        if family in throttled
        and tx.now - hold.since >= patience
        and hold.reason in THROTTLES  # not for a shortage of this machine
    ]
    jobs = tx.fallback_candidates(families, limit=_STEP) if families else ()

    return [
        (job, model)
        for job in jobs
        if fallback.waits_for_family(job, now=tx.now) and (model := fallback.next_model(job, throttled)) is not None
    ]


def replace_retired_model(tx: Transaction, job: Job, context: Context) -> Job:
    """The job, switched to the default model where its own was retired while it waited."""
    if job.model == context.policy.model:
        return job
    model, _ = resolve_model(job.model, context, now=tx.now)
    if model == job.model:
        return job
    change = fallback.switch_model(job, model, why="retired", now=tx.now)
    tx.save(change)

    return change.job


def resolve_model(model: str, context: Context, *, now: float) -> tuple[str, tuple[str, ...]]:
    """The model to ask for one that was named earlier, and warnings: it may be retired by now."""
    if context.policy.model is None:
        return model, ()
    try:
        return resolve(model, default=context.policy.model, catalogue=context.model_catalog(), now=now)
    except ValueError:  # a gateway's own name of a model
        return model, ()


def adapt_options(model: str, options: dict[str, Any], context: Context) -> tuple[dict[str, Any], list[str]]:
    """The options that a model accepts, and warnings for those that were dropped."""
    diagnostics = Diagnostics()
    adapted = fit_request({**options, "model": model}, context.model_catalog().listed(model), diagnostics)

    return adapted, diagnostics.warnings


def adapt_request(request: StoredRequest, job: Job, context: Context) -> StoredRequest:
    """The request for the job's present model, without options that this model does not accept."""
    options, _ = _adapted(request, job, context)

    return request if options is None else replace(request, request={**request.request, "options": options})


def warnings(tx: ReadTransaction, job: Job, request: StoredRequest, context: Context) -> list[str]:
    """Warnings for the receiver of this run's answer: switches of the model, a batch that the job left."""
    options, dropped = _adapted(request, job, context)
    if options is None and job.mode == "live":
        return []  # nearly always: the events are not read
    texts: list[str] = []
    for event in tx.events(job.id):
        if event.name is EventName.RETRIED:
            texts = []
        elif event.name is EventName.SWITCHED and options is not None:
            texts.append(fallback.describe_switch(event.detail))
        elif "warning" in event.detail:
            texts.append(event.detail["warning"])

    return [*texts, *dropped]


def _adapted(request: StoredRequest, job: Job, context: Context) -> tuple[dict[str, Any] | None, list[str]]:
    """The options adapted to another model than their own, and what was dropped; None where it is their own."""
    options = request.request.get("options") or {}
    if not job.model or options.get("model", job.model) == job.model:
        return None, []
    raw = {name: value for name, value in (options.get("raw") or {}).items() if name != "model"}

    return adapt_options(job.model, {**options, "raw": raw}, context)
