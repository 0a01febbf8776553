"""Which jobs make the next batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.batches import MOST_BYTES, SUBMIT_WINDOW, is_ready
from ..core.jobs import batch_transitions
from ..core.jobs.job import Job, State
from ..core.money.prices import PriceList
from ..core.policy import Policy
from ..ports import BatchItem, ReadTransaction, Transaction
from . import model_fallback, upstream_circuit
from .budgets import Budgets
from .context import Context
from .execution import PROBE_EVERY
from .types import BatchEntry

#: So many batches may wait to be sent. What is in none yet can still be paused, held to a budget, or called live.
MAX_UNSENT = 4


def next_jobs(tx: ReadTransaction, policy: Policy, prices: PriceList) -> list[Job]:
    """
    The jobs of the next batch, if one should leave now: those without a time to be ready by, or else some whose times
    are close.

    Paused groups, spent budgets, a pause, a park, a line that is down and a throttle hold them back as they do live
    calls.
    """
    if tx.unsent_batches() >= MAX_UNSENT:
        return []
    holds, most = {hold.scope: hold for hold in tx.holds()}, policy.batch_size
    throttled = "batches" in holds and (holds["batches"].until or 0.0) > tx.now
    away = upstream_circuit.SCOPE in holds and (holds[upstream_circuit.SCOPE].until or 0.0) > tx.now
    park = holds.get("park")
    parked = park is not None and (park.until is None or park.until > tx.now)
    if throttled or away or parked or "pause" in holds:
        return []
    if park is not None or upstream_circuit.SCOPE in holds:
        most = 1  # as with live calls: one probes whether the key works again, or the line is up

    groups = [group.name for group in tx.groups() if group.paused_at is not None]
    budgets = Budgets(tx, prices)
    for auto in (True, False):
        jobs = tx.batch_candidates(limit=most, auto=auto, skip_groups=groups, skip_owners=budgets.blocked_owners)
        if not jobs:
            continue
        first = jobs[0].give_up_at or 0.0
        close = [job for job in jobs if abs((job.give_up_at or 0.0) - first) <= SUBMIT_WINDOW]
        if is_ready(len(close), most, waiting_since=jobs[0].due_at, now=tx.now, linger=policy.batch_linger):
            return _fitting(tx, close, budgets)

    return []


def add_to_batch(tx: Transaction, job: Job, *, worker: str, budgets: Budgets, context: Context) -> Job:
    """Put it into a batch: of a model that is there, and with what it may come to set aside."""
    job = model_fallback.replace_retired_model(tx, job, context)
    change = batch_transitions.enter_batch(job, worker=worker, now=tx.now)
    if change.call is not None and budgets.binds(job) and (request := tx.request(job.id)) is not None:
        change = replace(change, call=replace(change.call, reserved_usd=budgets.reserve(job, request)))
    tx.save(change)

    return change.job


def mark_probe(tx: Transaction) -> None:
    """A batch goes out: where all stands still, it is the one that finds out whether it must."""
    for hold in tx.holds():
        if hold.scope == "park":
            tx.save_hold(replace(hold, until=tx.now + PROBE_EVERY))
        elif hold.scope == upstream_circuit.SCOPE:
            upstream_circuit.start_probe(tx, hold)


def load_entry(tx: ReadTransaction, item: BatchItem, context: Context | None = None) -> BatchEntry | None:
    """
    An item with its job and its entry in the ledger; None where they were purged.

    With `tools` its request is as it is asked of the job's present model.
    """
    job, call = tx.job(item.job_id), tx.call(item.job_id, item.number)
    if job is None or call is None:
        return None

    request = tx.request(job.id)
    if request is not None and context is not None:
        request = model_fallback.adapt_request(request, job, context)

    return BatchEntry(item=item, job=job, call=call, request=request)


def is_awaited(tx: ReadTransaction, item: BatchItem) -> bool:
    """Whether the item's job still waits for it; without reading what it asks for."""
    job = tx.job(item.job_id)

    return job is not None and job.state is State.BATCHED and job.calls == item.number


def _fitting(tx: ReadTransaction, jobs: Sequence[Job], budgets: Budgets) -> list[Job]:
    """As many as may be sent together, and as their keys' budgets bear; one that is too large for that goes alone."""
    fit: list[Job] = []
    size = 0
    for job in jobs:
        size += tx.request_size(job.id)
        if fit and size > MOST_BYTES:
            break
        if not budgets.admits(job):
            continue
        if budgets.binds(job) and (request := tx.request(job.id)) is not None:
            budgets.reserve(job, request)
        fit.append(job)

    return fit
