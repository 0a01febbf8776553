"""Which jobs make the next batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core import batched
from ..core.batching import MOST_BYTES, TOGETHER, leaves
from ..core.job import Job, State
from ..core.policy import Policy
from ..core.prices import PriceList
from ..ports import Item, Unit, View
from . import turning
from .budgets import Budgets
from .values import InBatch, Tools


def next_jobs(view: View, policy: Policy, prices: PriceList) -> list[Job]:
    """
    The jobs of the next batch, if one should leave now: those without a time to be ready by, or else some whose times
    are close.

    Paused groups, spent budgets, a pause, a park and a throttle hold them back as they do live calls.
    """
    holds, most = {hold.scope: hold for hold in view.holds()}, policy.batch_size
    throttled = "batches" in holds and (holds["batches"].until or 0.0) > view.now
    if (park := holds.get("park")) is not None:
        most = 1  # as with live calls: one probes whether the key works again
    if throttled or "pause" in holds or (park is not None and (park.until is None or park.until > view.now)):
        return []

    groups = [group.name for group in view.groups() if group.paused_at is not None]
    budgets = Budgets(view, prices)
    for auto in (True, False):
        jobs = view.gatherable(limit=most, auto=auto, skip_groups=groups, skip_owners=budgets.shut)
        if not jobs:
            continue
        first = jobs[0].give_up_at or 0.0
        close = [job for job in jobs if abs((job.give_up_at or 0.0) - first) <= TOGETHER]
        if leaves(len(close), most, waiting_since=jobs[0].due_at, now=view.now, linger=policy.batch_linger):
            return _fitting(view, close, budgets)

    return []


def gather(unit: Unit, job: Job, *, worker: str, budgets: Budgets, tools: Tools) -> Job:
    """Put it into a batch: of a model that is there, and with what it may come to set aside."""
    job = turning.up_to_date(unit, job, tools)
    change = batched.gather(job, worker=worker, now=unit.now)
    if change.call is not None and (request := unit.request(job.id)) is not None:
        change = replace(change, call=replace(change.call, reserved_usd=budgets.reserve(job, request)))
    unit.save(change)

    return change.job


def in_batch(view: View, item: Item, tools: Tools | None = None) -> InBatch | None:
    """
    An item with its job and its entry in the ledger; None where they were purged.

    With `tools` its request is as it is asked of the job's present model.
    """
    job, call = view.job(item.job_id), view.call(item.job_id, item.number)
    if job is None or call is None:
        return None

    request = view.request(job.id)
    if request is not None and tools is not None:
        request = turning.fitted(request, job, tools)

    return InBatch(item=item, job=job, call=call, request=request)


def is_awaited(view: View, item: Item) -> bool:
    """Whether the item's job still waits for it; without reading what it asks for."""
    job = view.job(item.job_id)

    return job is not None and job.state is State.BATCHED and job.calls == item.number


def _fitting(view: View, jobs: Sequence[Job], budgets: Budgets) -> list[Job]:
    """As many as may be sent together, and as their keys' budgets bear; one that is too large for that goes alone."""
    fit: list[Job] = []
    size = 0
    for job in jobs:
        size += view.request_size(job.id)
        if fit and size > MOST_BYTES:
            break
        if budgets.admits(job) and (request := view.request(job.id)) is not None:
            budgets.reserve(job, request)
            fit.append(job)

    return fit
