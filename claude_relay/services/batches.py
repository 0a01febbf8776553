"""Use cases of the batch runner: plan batches, create and poll them, apply results, and promote late jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import failpoints
from ..core.batches import Batch, BatchState, grace, next_poll_at
from ..core.jobs import batch_transitions
from ..core.jobs.change import Change, with_warning
from ..core.jobs.failure import Completion, Failure, Remedy, Repair
from ..core.jobs.holds import BATCHES, QueueHold
from ..core.jobs.job import Job, State
from ..errors import Conflict
from . import answer_checks, batch_results, upstream_circuit
from .attempts import resume_if_parked
from .batch_planner import is_awaited, load_entry, next_jobs, plan_batch, plan_part
from .conversation import earlier_turns
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.jobs.submission import Exchange
    from ..ports import BatchItem, BatchStatus, ReadTransaction, Transaction
    from .context import Context
    from .types import BatchEntry

#: Seconds that a worker has a batch leased: longer than any single step with it may take.
BATCH_LEASE = 1800.0
_STEP = 200
#: Refusals of the batch API itself, not of an item: the endpoint or the permission is missing.
_NO_BATCH_API = ("http_403", "http_404", "http_405", "http_501", "workspace_human_review_disabled")
_UNLEASED: dict[str, object] = {"worker": None, "held_until": None}


class Batches:
    """The use cases of a worker's batches. A leased batch is one worker's alone; every result counts once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def plan(self, worker: str) -> Batch | None:
        """
        Plan a batch, if one should be sent.

        Its jobs, items and ledger entries are on disk before it is sent.
        """
        if not self._jobs_are_ready():
            return None
        batch = self._plan(worker)
        if batch is not None:
            failpoints.hit("batch.planned")

        return batch

    def claim_due(self, worker: str) -> Batch | None:
        """Lease a batch that is due to a worker."""
        return self._claim_due(worker) if self._any_due() else None

    @query
    def contents(self, tx: ReadTransaction, batch: Batch) -> Sequence[BatchEntry]:
        """The items whose jobs still wait for them, with their requests."""
        entries = (load_entry(tx, item, self._context) for item in tx.items(batch.id))

        return [entry for entry in entries if entry is not None and entry.awaited]

    def history(self, entry: BatchEntry) -> Sequence[Exchange]:
        """The earlier exchanges of its conversation. Raises `NotFound` if any of it was erased."""
        if entry.request is None or not entry.request.request.get("continueFrom"):
            return ()
        return self._earlier_exchanges(entry.job.id)

    @query
    def repair(self, tx: ReadTransaction, entry: BatchEntry) -> Repair | None:
        """The answer of this run that did not match its schema, for Claude to fix."""
        return tx.repair(entry.job.id, entry.job.run)

    @query
    def content(self, tx: ReadTransaction, batch: Batch, name: str) -> BatchEntry | None:
        """One item, if it belongs to that batch and has no result yet."""
        item = tx.item(name)
        if item is None or item.done or item.batch_id != batch.id:
            return None

        return load_entry(tx, item, self._context)

    @query
    def batch_of(self, tx: ReadTransaction, name: str) -> str | None:
        """The id of the batch that has an item of that name, done or not."""
        item = tx.item(name)

        return None if item is None else item.batch_id

    @transaction
    def split(self, tx: Transaction, batch: Batch, groups: Sequence[Sequence[str]]) -> Batch:
        """Split a planned batch: the first group stays, each of the others becomes a batch of its own."""
        items = {item.custom_id: item for item in tx.items(batch.id)}
        for group in groups[1:]:
            plan_part(tx, batch, [items[name] for name in group if name in items], context=self._context)

        return _save(tx, batch, count=len(groups[0]))

    def sending(self, batch: Batch, names: Collection[str]) -> Batch:
        """
        Record that those items are about to be sent, and may have to be paid for from now on.

        The others are dropped.

        Raises `Conflict` if another worker has the batch by now, or if one of those jobs has left it since it was
        packed (it was cancelled, or is called live): nothing may be sent then.
        """
        sent = self._mark_sent(batch, names)
        failpoints.hit("batch.sending")

        return sent

    def mark_created(self, batch: Batch, seen: BatchStatus) -> Batch:
        """Save the batch's id at Anthropic. An answer also proves that the key works."""
        failpoints.hit("batch.created")
        return self._mark_created(batch, seen)

    @transaction
    def mark_create_unknown(self, tx: Transaction, batch: Batch, failure: Failure) -> Batch:
        """Look for a batch whose creation was not answered."""
        return self._poll_later(tx, batch, looks=0, detail=f"looked for: {failure.message}")

    def mark_create_refused(self, batch: Batch, failure: Failure) -> None:
        """
        Settle a batch that was certainly not created.

        A fault of one item must not fail the others: the batch is halved, and a single item is called live, where it
        gets its own result. Any other error is a failed attempt of each item.
        """
        self._announce(self._refuse_creation(batch, failure))

    def mark_not_created(self, batch: Batch) -> None:
        """Queue the jobs of a batch again that Anthropic does not have; nothing was paid."""
        self._announce(self._queue_again(batch))

    @transaction
    def reschedule_poll(
        self, tx: Transaction, batch: Batch, *, missed: bool = False, detail: str | None = None
    ) -> Batch:
        """Poll again later, as nothing has changed. `missed`: the batch, or a part of it, could not be read."""
        fields: dict[str, object] = dict(looks=batch.looks + 1, misses=batch.misses + 1 if missed else 0)
        if detail is not None:
            fields["detail"] = detail

        return self._poll_later(tx, batch, **fields)

    @transaction
    def release(self, tx: Transaction, batch: Batch, worker: str) -> None:
        """End a worker's lease, and leave the batch as it is in the store."""
        current = tx.batch(batch.id)
        if current is not None and current.worker == worker:
            released = self._poll_later(tx, current)
            if released.state is BatchState.PLANNED:
                tx.poll_now(released.id)

    @transaction
    def mark_empty(self, tx: Transaction, batch: Batch) -> None:
        """Settle a planned batch in which no item is awaited any more."""
        for item in tx.items(batch.id):
            tx.mark_item_done(item.custom_id)
        _settle(tx, batch, "nothing was left to send")

    @query
    def awaited(self, tx: ReadTransaction, batch: Batch) -> int:
        """The number of its jobs that still wait for it."""
        return tx.count_awaited(batch.id)

    @transaction
    def mark_cancel_requested(self, tx: Transaction, batch: Batch) -> Batch:
        """Record that its cancellation was requested."""
        return _save(tx, batch, cancelled_at=tx.now)

    @transaction
    def mark_ended(self, tx: Transaction, batch: Batch) -> Batch:
        """Record that its results can be read."""
        return _save(tx, batch, state=BatchState.ENDED, ended_at=tx.now, looks=0, misses=0)

    def record_result(self, entry: BatchEntry, end: Completion | Failure, *, canceled: bool = False) -> Job | None:
        """
        Apply one result: an outcome and its delivery, or another attempt. None where that was done already.

        Where the job no longer waits for it, the answer is dropped and its cost is booked. `canceled`: the batch was
        cancelled before Claude came to this item, so that an auto job is called live without a double cost.
        """
        if isinstance(end, Completion):
            end = answer_checks.with_results(end, entry.request)
        change = self._apply_result(entry.item.custom_id, end, canceled)

        return None if change is None else self._announce([change])[0]

    def record_fault(self, custom_id: str, failure: Failure) -> Job | None:
        """Fail an item that cannot even be loaded."""
        change = self._apply_result(custom_id, failure, False)

        return None if change is None else self._announce([change])[0]

    @transaction
    def finish_if_complete(self, tx: Transaction, batch: Batch) -> bool:
        """Settle the batch if all of its results are applied; returns whether they are."""
        if tx.items(batch.id):
            return False
        _save(tx, batch, state=BatchState.SETTLED, **_UNLEASED)

        return True

    def mark_results_lost(self, batch: Batch, failure: Failure) -> None:
        """Settle a batch whose results cannot be read: each item may have been paid for, and is attempted again."""
        self._announce(self._lose_results(batch, failure))

    def promote(self) -> Sequence[Job]:
        """
        Call jobs live for which a batch is too slow.

        Those in a batch may be paid for twice, and say so.
        """
        return self._announce(self._promote_late()) if self._any_late() else []

    @query
    def next_at(self, tx: ReadTransaction) -> float | None:
        """The time when the next batch is to be polled."""
        return tx.next_batch_at()

    @query
    def known_upstream(self, tx: ReadTransaction, upstream_ids: Collection[str]) -> set[str]:
        """Those ids that belong to batches of this store."""
        return tx.known_upstream(upstream_ids)

    @query
    def _earlier_exchanges(self, tx: ReadTransaction, job_id: str) -> Sequence[Exchange]:
        return earlier_turns(tx, job_id)

    @query
    def _jobs_are_ready(self, tx: ReadTransaction) -> bool:
        return tx.growing_batch() is not None or bool(next_jobs(tx, self._context.policy, self._context.prices))

    @transaction
    def _plan(self, tx: Transaction, worker: str) -> Batch | None:
        return plan_batch(tx, worker=worker, context=self._context)

    @query
    def _any_due(self, tx: ReadTransaction) -> bool:
        return bool(tx.due_batches(limit=1))

    @transaction
    def _claim_due(self, tx: Transaction, worker: str) -> Batch | None:
        for batch in tx.due_batches(limit=1):
            # The search for an unanswered creation starts now: a request that was minutes on its way may still arrive.
            sent_at = tx.now if batch.state is BatchState.CREATING and not batch.looks else batch.sent_at
            return _save(tx, batch, worker=worker, held_until=tx.now + BATCH_LEASE, sent_at=sent_at)

        return None

    @transaction
    def _mark_sent(self, tx: Transaction, batch: Batch, names: Collection[str]) -> Batch:
        for item in tx.items(batch.id):
            if item.custom_id not in names:
                tx.mark_item_done(item.custom_id)
            elif not is_awaited(tx, item):
                raise Conflict("a job has left the batch since it was packed")
        tx.mark_batch_sent(batch.id)
        upstream_circuit.record_success(tx)  # a connection was made, or there would be nothing to send

        return _save(tx, batch, state=BatchState.CREATING, sent_at=tx.now, count=len(names))

    @transaction
    def _mark_created(self, tx: Transaction, batch: Batch, status: BatchStatus) -> Batch:
        tx.mark_batch_sent(batch.id, status.id)
        resume_if_parked(tx, batch.sent_at or batch.planned_at)
        created: dict[str, object] = dict(upstream_id=status.id, expires_at=status.expires_at, looks=0, misses=0)

        return self._poll_later(tx, batch, state=BatchState.CREATED, **created)

    @transaction
    def _refuse_creation(self, tx: Transaction, batch: Batch, failure: Failure) -> list[Change]:
        _settle(tx, batch, failure.message)
        items = tx.items(batch.id)
        if failure.remedy is Remedy.FAIL and failure.reason not in _NO_BATCH_API and len(items) > 1:
            half = len(items) // 2
            for part in (items[:half], items[half:]):
                plan_part(tx, batch, part, context=self._context)
            return []
        changes = [self._refuse_item(tx, entry, failure) for entry in _take_awaited(tx, items)]
        if failure.remedy is Remedy.THROTTLE and changes:
            until = max(change.job.due_at for change in changes)
            tx.save_hold(QueueHold(scope=BATCHES, reason=failure.type.value, since=tx.now, until=until))
        if failure.reason == "connect":
            upstream_circuit.record_failure(tx, failure, chance=self._context.rng.random())

        return changes

    def _refuse_item(self, tx: Transaction, entry: BatchEntry, failure: Failure) -> Change:
        if failure.remedy is not Remedy.FAIL:
            return batch_results.fail_item(tx, entry, replace(failure, ambiguous=False), self._context)
        change = batch_transitions.leave_batch(entry.job, call=entry.call, now=tx.now, why=failure.message, live=True)
        change = with_warning(
            change, f"the batch was refused, so it was called live, at the full price: {failure.message}"
        )
        tx.save(change)

        return change

    @transaction
    def _queue_again(self, tx: Transaction, batch: Batch) -> list[Change]:
        _settle(tx, batch, "it was never made")
        changes = []
        for entry in _take_awaited(tx, tx.items(batch.id)):
            why = "the batch never reached Anthropic"
            changes.append(batch_transitions.leave_batch(entry.job, call=entry.call, now=tx.now, why=why))
            tx.save(changes[-1])

        return changes

    @transaction
    def _apply_result(self, tx: Transaction, name: str, result: Completion | Failure, canceled: bool) -> Change | None:
        item = tx.item(name)
        if item is None or item.done:
            return None
        tx.mark_item_done(item.custom_id)
        entry = load_entry(tx, item)
        change = None
        if entry is not None:
            change = batch_results.apply_result(tx, entry, result, self._context, canceled=canceled)
        failpoints.hit("batch.result")

        return change

    @transaction
    def _lose_results(self, tx: Transaction, batch: Batch, failure: Failure) -> list[Change]:
        _settle(tx, batch, failure.message)
        lost = replace(failure, ambiguous=True, remedy=Remedy.RETRY)

        return [
            batch_results.fail_item(tx, entry, lost, self._context) for entry in _take_awaited(tx, tx.items(batch.id))
        ]

    def _late_jobs(self, tx: ReadTransaction, limit: int) -> Sequence[Job]:
        sent_before = tx.now - grace(self._context.policy)

        return tx.late_batch_jobs(unsent_before=tx.now, sent_before=sent_before, limit=limit)

    @query
    def _any_late(self, tx: ReadTransaction) -> bool:
        return bool(self._late_jobs(tx, 1))

    @transaction
    def _promote_late(self, tx: Transaction) -> list[Change]:
        changes = []
        for job in self._late_jobs(tx, _STEP):
            call = tx.call(job.id, job.calls) if job.state is State.BATCHED else None
            changes.append(batch_transitions.promote(job, call=call, now=tx.now, paid=job.sent))
            tx.save(changes[-1])

        return changes

    def _poll_later(self, tx: Transaction, batch: Batch, **fields: object) -> Batch:
        """Save the batch without a lease, to be polled at the next step of its schedule."""
        updated = replace(batch, **fields)  # type: ignore[arg-type]
        at = next_poll_at(updated, now=tx.now, policy=self._context.policy)

        return _save(tx, batch, **{**fields, "next_at": at, **_UNLEASED})

    def _announce(self, changes: Sequence[Change]) -> list[Job]:
        ready = [change.job.id for change in changes if change.ready_now and change.job.lane == "live"]
        if ready:
            self._context.notifier.notify(ready)

        return [change.job for change in changes]


def _take_awaited(tx: Transaction, items: Sequence[BatchItem]) -> list[BatchEntry]:
    """Mark the items as done; returns those whose jobs waited for them."""
    entries = []
    for item in items:
        tx.mark_item_done(item.custom_id)
        entry = load_entry(tx, item)
        if entry is not None and entry.awaited:
            entries.append(entry)

    return entries


def _settle(tx: Transaction, batch: Batch, detail: str) -> None:
    _save(tx, batch, state=BatchState.SETTLED, detail=detail, **_UNLEASED)


def _save(tx: Transaction, batch: Batch, **fields: object) -> Batch:
    saved = replace(batch, version=batch.version + 1, **fields)  # type: ignore[arg-type]
    tx.save_batch(saved, batch.version)

    return saved
