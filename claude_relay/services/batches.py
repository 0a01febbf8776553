"""What a worker does with batches: gather jobs, send them off, look, take results in, and give up what is too slow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .. import failpoints
from ..core.batches import Batch, BatchState, custom_id, grace, next_poll_at
from ..core.jobs import batch_transitions
from ..core.jobs.change import Change, with_warning
from ..core.jobs.failure import Completion, Failure, Remedy, SchemaRepair
from ..core.jobs.holds import BATCHES, QueueHold
from ..core.jobs.job import Job, State
from ..core.jobs.submission import Exchange
from ..errors import Conflict
from ..ports import BatchItem, BatchStatus, ReadTransaction, Transaction
from . import batch_results, upstream_circuit
from .batch_planner import add_to_batch, is_awaited, load_entry, next_jobs
from .budgets import Budgets
from .context import BatchEntry, Context
from .conversation import turns_before
from .execution import resume_if_parked
from .holds import load_holds, start_probes

#: How long a worker may have a batch in hand, in seconds: longer than anything it does with one may take.
BATCH_LEASE = 1800.0
_STEP = 200
_LIVE_WHERE = ("http_403", "http_404", "http_405", "http_501")


class Batches:
    """The use cases of a worker's batches. What one worker has in hand no other touches; every result counts once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def plan(self, worker: str) -> Batch | None:
        """Gather a batch, if one should leave: its jobs, its items and their ledger are on disk before it is sent."""
        if self._store.read(lambda tx: next_jobs(tx, self._context.policy, self._context.prices)) == []:
            return None
        batch = self._store.write(lambda tx: self._plan(tx, worker))
        if batch is not None:
            failpoints.hit("batch.planned")

        return batch

    def claim_due(self, worker: str) -> Batch | None:
        """A batch that is due and that nobody has in hand: that worker's now."""

        def take(tx: Transaction) -> Batch | None:
            for batch in tx.due_batches(limit=1):
                # To be looked for, from now on: what was minutes on its way may arrive yet.
                sent_at = tx.now if batch.state is BatchState.CREATING and not batch.looks else batch.sent_at
                return self._save(tx, batch, worker=worker, held_until=tx.now + BATCH_LEASE, sent_at=sent_at)
            return None

        if not self._store.read(lambda tx: tx.due_batches(limit=1)):
            return None
        return self._store.write(take)

    def contents(self, batch: Batch) -> Sequence[BatchEntry]:
        """Its items whose jobs still wait, with what they ask for."""

        def look(tx: ReadTransaction) -> list[BatchEntry]:
            found = (load_entry(tx, item, self._context) for item in tx.items(batch.id))
            return [one for one in found if one is not None and one.awaited]

        return self._store.read(look)

    def history(self, one: BatchEntry) -> Sequence[Exchange]:
        """What was said before in its conversation. Raises `NotFound` if any of it is gone."""
        if one.request is None or not one.request.request.get("continueFrom"):
            return ()
        return self._store.read(lambda tx: turns_before(tx, one.job.id))

    def repair(self, one: BatchEntry) -> SchemaRepair | None:
        """What it answered before in this run, if that is to be mended."""
        return self._store.read(lambda tx: tx.repair(one.job.id, one.job.run))

    def content(self, batch: Batch, name: str) -> BatchEntry | None:
        """One item, if it belongs to that batch and its result was not taken in yet."""

        def look(tx: ReadTransaction) -> BatchEntry | None:
            item = tx.item(name)
            if item is None or item.done or item.batch_id != batch.id:
                return None
            return load_entry(tx, item, self._context)

        return self._store.read(look)

    def batch_of(self, name: str) -> str | None:
        """The id of the batch that has an item of that name, done or not."""
        item = self._store.read(lambda tx: tx.item(name))

        return None if item is None else item.batch_id

    def split(self, batch: Batch, groups: Sequence[Sequence[str]]) -> Batch:
        """Before it is sent: the first group stays, each of the others becomes a batch of its own."""

        def split(tx: Transaction) -> Batch:
            items = {item.custom_id: item for item in tx.items(batch.id)}
            for group in groups[1:]:
                self._add(tx, batch, [items[name] for name in group if name in items])
            return self._save(tx, batch, count=len(groups[0]) if groups else 0)

        return self._store.write(split)

    def sending(self, batch: Batch, names: Collection[str]) -> Batch:
        """
        The batch is about to go out with those items, which may be paid for from now on; the others are no longer
        wanted.

        Raises `Conflict` if another worker has it by now, or if one of those jobs has left it since it was packed (it
        was cancelled, or is called live): nothing may be sent then.
        """

        def send(tx: Transaction) -> Batch:
            for item in tx.items(batch.id):
                if item.custom_id not in names:
                    tx.mark_item_done(item.custom_id)
                elif not is_awaited(tx, item):
                    raise Conflict("a job has left the batch since it was packed")
            tx.mark_batch_sent(batch.id)
            upstream_circuit.record_success(tx)  # the connection stands, or there would be nothing to send
            return self._save(tx, batch, state=BatchState.CREATING, sent_at=tx.now, count=len(names))

        sent = self._store.write(send)
        failpoints.hit("batch.sending")

        return sent

    def mark_created(self, batch: Batch, seen: BatchStatus) -> Batch:
        """Anthropic has it: by that id it is found again. An answer also says that the key works."""

        def record(tx: Transaction) -> Batch:
            tx.mark_batch_sent(batch.id, seen.id)
            resume_if_parked(tx, batch.sent_at or batch.planned_at)
            return self._look_again(
                tx,
                batch,
                state=BatchState.CREATED,
                upstream_id=seen.id,
                expires_at=seen.expires_at,
                looks=0,
                misses=0,
            )

        failpoints.hit("batch.created")
        return self._store.write(record)

    def mark_create_unknown(self, batch: Batch, failure: Failure) -> Batch:
        """Whether it was made is not known: it is looked for."""
        return self._store.write(
            lambda tx: self._look_again(tx, batch, looks=0, detail=f"looked for: {failure.message}")
        )

    def mark_create_refused(self, batch: Batch, failure: Failure) -> None:
        """
        It was certainly not made. What is wrong with one item must not sink the others: halves are tried, and a single
        one is called live, where it gets its own verdict. Anything else is a try that did not work for each of them.
        """

        def move(tx: Transaction) -> list[Change]:
            self._save(tx, batch, state=BatchState.SETTLED, detail=failure.message, **_FREE)
            items = tx.items(batch.id)
            changes: list[Change] = []
            if failure.remedy is Remedy.FAIL and failure.reason not in _LIVE_WHERE and len(items) > 1:
                half = len(items) // 2
                for part in (items[:half], items[half:]):
                    self._add(tx, batch, part)
                return changes
            for item in items:
                tx.mark_item_done(item.custom_id)
                one = load_entry(tx, item)
                if one is not None and one.awaited:
                    changes.append(self._not_made(tx, one, failure))
            if failure.remedy is Remedy.THROTTLE and changes:
                until = max(change.job.due_at for change in changes)
                tx.save_hold(QueueHold(scope=BATCHES, reason=failure.type.value, since=tx.now, until=until))
            if failure.reason == "connect":
                upstream_circuit.record_failure(tx, chance=self._context.rng.random())
            return changes

        self._announce(self._store.write(move))

    def mark_not_created(self, batch: Batch) -> None:
        """It was looked for and is not there: its jobs go back, and nothing was paid."""

        def move(tx: Transaction) -> list[Change]:
            self._save(tx, batch, state=BatchState.SETTLED, detail="it was never made", **_FREE)
            changes = []
            for item in tx.items(batch.id):
                tx.mark_item_done(item.custom_id)
                one = load_entry(tx, item)
                if one is not None and one.awaited:
                    why = "the batch never reached Anthropic"
                    changes.append(batch_transitions.leave_batch(one.job, call=one.call, now=tx.now, why=why))
                    tx.save(changes[-1])
            return changes

        self._announce(self._store.write(move))

    def reschedule_poll(self, batch: Batch, *, missed: bool = False, detail: str | None = None) -> Batch:
        """Nothing new: again later. `missed`: it, or something of it, was not to be had."""
        found: dict[str, object] = dict(looks=batch.looks + 1, misses=batch.misses + 1 if missed else 0)
        if detail is not None:
            found["detail"] = detail

        return self._store.write(lambda tx: self._look_again(tx, batch, **found))

    def release(self, batch: Batch, worker: str) -> None:
        """Nobody has it in hand any more, and it stands as it is in the store."""

        def free(tx: Transaction) -> None:
            known = tx.batch(batch.id)
            if known is not None and known.worker == worker:
                free = self._look_again(tx, known)
                if free.state is BatchState.PLANNED:
                    tx.poll_now(free.id)

        self._store.write(free)

    def mark_empty(self, batch: Batch) -> None:
        """Before it was sent, nothing is left in it that anyone waits for."""

        def drop(tx: Transaction) -> None:
            for item in tx.items(batch.id):
                tx.mark_item_done(item.custom_id)
            self._save(tx, batch, state=BatchState.SETTLED, detail="nothing was left to send", **_FREE)

        self._store.write(drop)

    def awaited(self, batch: Batch) -> int:
        """How many of its jobs still wait for it."""
        return self._store.read(lambda tx: tx.count_awaited(batch.id))

    def mark_cancel_requested(self, batch: Batch) -> Batch:
        """Its cancelling was asked for."""
        return self._store.write(lambda tx: self._save(tx, batch, cancelled_at=tx.now))

    def mark_ended(self, batch: Batch) -> Batch:
        """Its results are there."""
        return self._store.write(
            lambda tx: self._save(tx, batch, state=BatchState.ENDED, ended_at=tx.now, looks=0, misses=0)
        )

    def record_result(self, one: BatchEntry, end: Completion | Failure, *, canceled: bool = False) -> Job | None:
        """
        Take one result in: an outcome and its delivery, or another try. Once: None where that was done before.

        Nobody waits for it any more: the answer is dropped, what it cost is booked. `canceled`: the batch was given up
        before Claude came to it, so that an auto job goes live without a double cost.
        """

        def move(tx: Transaction) -> Change | None:
            item = tx.item(one.item.custom_id)
            if item is None or item.done:
                return None
            tx.mark_item_done(item.custom_id)
            known = load_entry(tx, item)
            change = (
                None if known is None else batch_results.apply_result(tx, known, end, self._context, canceled=canceled)
            )
            failpoints.hit("batch.result")
            return change

        change = self._store.write(move)

        return None if change is None else self._announce([change])[0]

    def finish_if_complete(self, batch: Batch) -> bool:
        """Whether all results are in; if so, the batch is done with."""

        def move(tx: Transaction) -> bool:
            if tx.items(batch.id):
                return False
            self._save(tx, batch, state=BatchState.SETTLED, **_FREE)
            return True

        return self._store.write(move)

    def mark_results_lost(self, batch: Batch, failure: Failure) -> None:
        """Its results will never be had: each of its items may have been paid for, and is tried again."""

        def move(tx: Transaction) -> list[Change]:
            self._save(tx, batch, state=BatchState.SETTLED, detail=failure.message, **_FREE)
            changes = []
            for item in tx.items(batch.id):
                tx.mark_item_done(item.custom_id)
                one = load_entry(tx, item)
                if one is not None and one.awaited:
                    changes.append(
                        batch_results.fail_item(
                            tx, one, replace(failure, ambiguous=True, remedy=Remedy.RETRY), self._context
                        )
                    )
            return changes

        self._announce(self._store.write(move))

    def promote(self) -> Sequence[Job]:
        """Call live what a batch is too slow for; what is in one may be paid for twice then, and says so."""

        def late(tx: ReadTransaction, limit: int) -> Sequence[Job]:
            sent_before = tx.now - grace(self._context.policy)
            return tx.late_batch_jobs(unsent_before=tx.now, sent_before=sent_before, limit=limit)

        def move(tx: Transaction) -> list[Change]:
            changes = []
            for job in late(tx, _STEP):
                call = tx.call(job.id, job.calls) if job.state is State.BATCHED else None
                changes.append(
                    batch_transitions.promote(job, call=call, now=tx.now, paid=call is not None and job.sent)
                )
                tx.save(changes[-1])
            return changes

        if not self._store.read(lambda tx: late(tx, 1)):
            return []
        return self._announce(self._store.write(move))

    def next_at(self) -> float | None:
        """When the next batch is to be looked at."""
        return self._store.read(lambda tx: tx.next_batch_at())

    def known_upstream(self, upstream_ids: Collection[str]) -> set[str]:
        """Which of those are batches of ours."""
        return self._store.read(lambda tx: tx.known_upstream(upstream_ids))

    def _plan(self, tx: Transaction, worker: str) -> Batch | None:
        budgets = Budgets(tx, self._context.prices)
        jobs = next_jobs(tx, self._context.policy, self._context.prices)
        if not jobs:
            return None
        start_probes(tx, load_holds(tx))
        identity = self._context.new_id(tx.now)
        items = []
        for job in jobs:
            number = add_to_batch(tx, job, worker=worker, budgets=budgets, context=self._context).calls
            name = custom_id(job.id, number)
            items.append(BatchItem(custom_id=name, batch_id=identity, job_id=job.id, number=number))
        times = [job.give_up_at for job in jobs if job.give_up_at is not None]
        batch = Batch(
            id=identity,
            state=BatchState.PLANNED,
            version=1,
            planned_at=tx.now,
            count=len(items),
            next_at=tx.now,
            give_up_at=min(times) if times else None,
        )
        tx.add_batch(batch, items)

        return batch

    def _add(self, tx: Transaction, like: Batch, items: Sequence[BatchItem]) -> None:
        """A planned batch of items that another one had."""
        if not items:
            return
        identity = self._context.new_id(tx.now)
        tx.add_batch(
            Batch(
                id=identity,
                state=BatchState.PLANNED,
                version=1,
                planned_at=like.planned_at,
                count=len(items),
                next_at=tx.now,
                give_up_at=like.give_up_at,
            ),
            items,
        )

    def _not_made(self, tx: Transaction, one: BatchEntry, failure: Failure) -> Change:
        if failure.remedy is not Remedy.FAIL:
            return batch_results.fail_item(tx, one, replace(failure, ambiguous=False), self._context)
        change = batch_transitions.leave_batch(one.job, call=one.call, now=tx.now, why=failure.message, live=True)
        change = with_warning(
            change, f"the batch was refused, so it was called live, at the full price: {failure.message}"
        )
        tx.save(change)

        return change

    def _look_again(self, tx: Transaction, batch: Batch, **fields: object) -> Batch:
        ahead = replace(batch, **fields)  # type: ignore[arg-type]
        at = next_poll_at(ahead, now=tx.now, policy=self._context.policy)

        return self._save(tx, batch, **{**fields, "next_at": at, **_FREE})

    def _save(self, tx: Transaction, batch: Batch, **fields: object) -> Batch:
        saved = replace(batch, version=batch.version + 1, **fields)  # type: ignore[arg-type]
        tx.save_batch(saved, batch.version)

        return saved

    def _announce(self, changes: Sequence[Change]) -> list[Job]:
        ready = [change.job.id for change in changes if change.ready_now and change.job.lane == "live"]
        if ready:
            self._context.notifier.notify(ready)

        return [change.job for change in changes]


_FREE: dict[str, object] = {"worker": None, "held_until": None}
