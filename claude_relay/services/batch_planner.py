"""Planning of batches: selection of their jobs, and their rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.batches import MOST_BYTES, MOST_ROWS, SUBMIT_WINDOW, Batch, BatchState, custom_id, is_ready
from ..core.collections.collection import Phase
from ..core.jobs import batch_transitions
from ..core.jobs.job import Job, State
from ..errors import Damaged
from ..ports import BatchItem, ReadTransaction, Transaction
from . import model_fallback
from .budgets import Budgets
from .holds import load_holds, start_probes
from .types import BatchEntry

if TYPE_CHECKING:
    from ..core.jobs.submission import StoredRequest
    from ..core.money.prices import PriceList
    from ..core.policy import Policy
    from .context import Context

#: Batches that may wait to be sent. Jobs that are in none yet can still be paused, held to a budget, or called live.
MAX_UNSENT = 4
#: Rows that one transaction puts into a batch.
_STEP = 100


def next_jobs(tx: ReadTransaction, policy: Policy, prices: PriceList) -> list[Job]:
    """
    The jobs of the next batch, if one should be sent now.

    Jobs without a time to be ready by, else jobs whose times are close.

    Paused groups, spent budgets, a pause, a park, an outage and a throttle hold them back as they do live calls.
    """
    if tx.unsent_batches() >= MAX_UNSENT:
        return []
    holds = load_holds(tx)
    if holds.blocks_batches:
        return []
    size = 1 if holds.probe_only else policy.batch_size  # as with live calls, a single job is the probe

    groups = [group.name for group in tx.groups() if group.paused_at is not None]
    budgets = Budgets(tx, prices)
    for auto in (True, False):
        jobs = _admitted(tx, groups, budgets, size, auto=auto)
        if not jobs:
            continue
        first = jobs[0]
        close = [job for job in jobs if _fit_together(first, job)]
        if _is_complete(tx, first) or is_ready(
            len(close), size, waiting_since=jobs[0].due_at, now=tx.now, linger=policy.batch_linger
        ):
            return _fitting(tx, close, budgets)

    return []


def _admitted(
    tx: ReadTransaction, groups: Collection[str], budgets: Budgets, size: int, *, auto: bool
) -> Sequence[Job]:
    """The candidates of the next batch. A collection whose calls under way may use up its maximum is passed over."""
    while jobs := tx.batch_candidates(
        limit=size,
        auto=auto,
        skip_groups=groups,
        skip_owners=budgets.blocked_owners,
        skip_collections=budgets.blocked_collections,
    ):
        if budgets.admits(jobs[0]):
            break

    return jobs


def plan_batch(tx: Transaction, *, worker: str, context: Context) -> Batch | None:
    """
    Put the next jobs into a planned batch; None where no batch should be sent now.

    The rows of a collection share as few batches as their size allows; they are put into one in steps.
    """
    budgets = Budgets(tx, context.prices)
    if (growing := tx.growing_batch()) is not None:
        return _grow(tx, growing, worker=worker, budgets=budgets, context=context)
    jobs = next_jobs(tx, context.policy, context.prices)
    if not jobs:
        return None
    holds = load_holds(tx)
    start_probes(tx, holds)
    identity = context.new_id(tx.now)
    items = _items(tx, identity, jobs, worker=worker, budgets=budgets, context=context)
    times = [job.give_up_at for job in jobs if job.give_up_at is not None]
    batch = Batch(
        id=identity,
        state=BatchState.PLANNED,
        version=1,
        planned_at=tx.now,
        count=len(items),
        next_at=tx.now,
        give_up_at=min(times) if times else None,
        collection=jobs[0].collection,
        growing=jobs[0].collection is not None and not holds.probe_only,
        size=sum(tx.request_size(job.id) for job in jobs) if jobs[0].collection is not None else 0,
    )
    tx.add_batch(batch, items)

    return batch


def _grow(tx: Transaction, batch: Batch, *, worker: str, budgets: Budgets, context: Context) -> Batch:
    """Put more rows of its collection into a batch; a full or complete one is due at once."""
    groups = [group.name for group in tx.groups() if group.paused_at is not None]
    rows = tx.batch_candidates(
        limit=min(_STEP, MOST_ROWS - batch.count),
        auto=batch.give_up_at is not None,
        skip_groups=groups,
        skip_owners=budgets.blocked_owners,
        collection=batch.collection,
    )
    rows = [row for row in rows if abs((row.give_up_at or 0.0) - (batch.give_up_at or 0.0)) <= SUBMIT_WINDOW]
    if load_holds(tx).blocks_batches:
        rows = []
    chosen = _fitting(tx, rows, budgets, size=batch.size)
    items = _items(tx, batch.id, chosen, worker=worker, budgets=budgets, context=context)
    tx.add_items(batch, items)
    grown = replace(
        batch,
        version=batch.version + 1,
        count=batch.count + len(items),
        size=batch.size + sum(tx.request_size(row.id) for row in chosen),
        growing=bool(items) and batch.count + len(items) < MOST_ROWS,
        next_at=tx.now,
    )
    tx.save_batch(grown, expects=batch.version)

    return grown


def _items(
    tx: Transaction, batch_id: str, jobs: Sequence[Job], *, worker: str, budgets: Budgets, context: Context
) -> list[BatchItem]:
    """Put jobs into a batch; their items."""
    items = []
    for job in jobs:
        number = _add_to_batch(tx, job, worker=worker, budgets=budgets, context=context).calls
        items.append(BatchItem(custom_id=custom_id(job.id, number), batch_id=batch_id, job_id=job.id, number=number))

    return items


def _fit_together(first: Job, job: Job) -> bool:
    """Whether both may be in one batch: times that are close, and the same collection or none."""
    close = abs((job.give_up_at or 0.0) - (first.give_up_at or 0.0)) <= SUBMIT_WINDOW

    return close and job.collection == first.collection


def _is_complete(tx: ReadTransaction, job: Job) -> bool:
    """
    Whether the job is a row of a collection that gets no more rows: its batch waits for nothing.

    A row that comes back, as for a repair, waits for those that may follow out of the same batch.
    """
    collection = tx.collection(job.collection) if job.collection is not None else None
    if collection is None or collection.phase is not Phase.CLOSED:
        return False

    return job.attempt == 0 or not tx.rows(collection.id, states=(State.BATCHED,), limit=1)


def plan_part(tx: Transaction, origin: Batch, items: Sequence[BatchItem], *, context: Context) -> None:
    """Plan a batch of items that move there from another."""
    if not items:
        return
    batch = Batch(
        id=context.new_id(tx.now),
        state=BatchState.PLANNED,
        version=1,
        planned_at=origin.planned_at,
        count=len(items),
        next_at=tx.now,
        give_up_at=origin.give_up_at,
    )
    tx.add_batch(batch, items)


def load_entry(tx: ReadTransaction, item: BatchItem, context: Context | None = None) -> BatchEntry | None:
    """
    An item with its job and its entry in the ledger; None where they were purged.

    With `context` its request is adapted to the job's present model.
    """
    job, call = tx.job(item.job_id), tx.call(item.job_id, item.number)
    if job is None or call is None:
        return None

    request, damage = None, None
    try:
        request = tx.request(job.id)
    except Damaged as exc:
        damage = str(exc)
    if request is not None and context is not None:
        request = model_fallback.adapt_request(request, job, context)

    return BatchEntry(item=item, job=job, call=call, request=request, damage=damage)


def is_awaited(tx: ReadTransaction, item: BatchItem) -> bool:
    """Whether the item's job still waits for it; the request is not read."""
    job = tx.job(item.job_id)

    return job is not None and job.state is State.BATCHED and job.calls == item.number


def _intact_request(tx: ReadTransaction, job: Job) -> StoredRequest | None:
    """The request; None for a damaged one, whose job fails when the batch is sent."""
    try:
        return tx.request(job.id)
    except Damaged:
        return None


def _fitting(tx: ReadTransaction, jobs: Sequence[Job], budgets: Budgets, *, size: int = 0) -> list[Job]:
    """
    The first jobs, up to the size of a batch and their keys' budgets; `size`: bytes that it has already.

    A job larger than that is sent alone.
    """
    selected: list[Job] = []
    for job in jobs:
        alone = not size
        size += tx.request_size(job.id)
        if not alone and size > MOST_BYTES:
            break
        if not budgets.admits(job):
            continue
        if budgets.binds(job) and (request := _intact_request(tx, job)) is not None:
            budgets.reserve(job, request)
        selected.append(job)

    return selected


def _add_to_batch(tx: Transaction, job: Job, *, worker: str, budgets: Budgets, context: Context) -> Job:
    """Put a job into a batch, with a model that still exists and its possible cost reserved."""
    job = model_fallback.replace_retired_model(tx, job, context)
    change = batch_transitions.enter_batch(job, worker=worker, now=tx.now)
    if change.call is not None and budgets.binds(job) and (request := _intact_request(tx, job)) is not None:
        change = replace(change, call=replace(change.call, reserved_usd=budgets.reserve(job, request)))
    tx.save(change)

    return change.job
