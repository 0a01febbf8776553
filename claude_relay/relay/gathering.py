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
from . import reach, turning
from .budgets import Budgets
from .values import InBatch, Tools
from .work import PROBE_EVERY

#: So many batches may wait to be sent. What is in none yet can still be paused, held to a budget, or called live.
AHEAD = 4


def next_jobs(view: View, policy: Policy, prices: PriceList) -> list[Job]:
    """
    The jobs of the next batch, if one should leave now: those without a time to be ready by, or else some whose times
    are close.

    Paused groups, spent budgets, a pause, a park, a line that is down and a throttle hold them back as they do live
    calls.
    """
    if view.unsent_batches() >= AHEAD:
        return []
    holds, most = {hold.scope: hold for hold in view.holds()}, policy.batch_size
    throttled = "batches" in holds and (holds["batches"].until or 0.0) > view.now
    away = reach.SCOPE in holds and (holds[reach.SCOPE].until or 0.0) > view.now
    park = holds.get("park")
    parked = park is not None and (park.until is None or park.until > view.now)
    if throttled or away or parked or "pause" in holds:
        return []
    if park is not None or reach.SCOPE in holds:
        most = 1  # as with live calls: one probes whether the key works again, or the line is up

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
    if change.call is not None and budgets.binds(job) and (request := unit.request(job.id)) is not None:
        change = replace(change, call=replace(change.call, reserved_usd=budgets.reserve(job, request)))
    unit.save(change)

    return change.job


def probing(unit: Unit) -> None:
    """A batch goes out: where all stands still, it is the one that finds out whether it must."""
    for hold in unit.holds():
        if hold.scope == "park":
            unit.save_hold(replace(hold, until=unit.now + PROBE_EVERY))
        elif hold.scope == reach.SCOPE:
            reach.looking(unit, hold)


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
        if not budgets.admits(job):
            continue
        if budgets.binds(job) and (request := view.request(job.id)) is not None:
            budgets.reserve(job, request)
        fit.append(job)

    return fit
