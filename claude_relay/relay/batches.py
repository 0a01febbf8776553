"""What a worker does with batches: gather jobs, send them off, look, take results in, and give up what is too slow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .. import failpoints
from ..core import batched
from ..core.batching import Batch, BatchState, custom_id, grace, next_look
from ..core.change import Change, warned
from ..core.failure import Completion, Failure, Remedy, Repair
from ..core.job import Job, State
from ..core.submission import Exchanged
from ..errors import Conflict
from ..ports import BatchSeen, Hold, Item, Unit, View
from . import reach, results
from .budgets import Budgets
from .conversation import turns_before
from .gathering import gather, in_batch, is_awaited, next_jobs, probing
from .values import InBatch, Tools
from .work import unpark

#: How long a worker may have a batch in hand, in seconds: longer than anything it does with one may take.
HOLD = 1800.0
_STEP = 200
_LIVE_WHERE = ("http_403", "http_404", "http_405", "http_501")


class Batches:
    """The use cases of a worker's batches. What one worker has in hand no other touches; every result counts once."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def plan(self, worker: str) -> Batch | None:
        """Gather a batch, if one should leave: its jobs, its items and their ledger are on disk before it is sent."""
        if self._store.read(lambda view: next_jobs(view, self._tools.policy, self._tools.prices)) == []:
            return None
        batch = self._store.write(lambda unit: self._plan(unit, worker))
        if batch is not None:
            failpoints.hit("batch.planned")

        return batch

    def take(self, worker: str) -> Batch | None:
        """A batch that is due and that nobody has in hand: that worker's now."""

        def take(unit: Unit) -> Batch | None:
            for batch in unit.due_batches(limit=1):
                # To be looked for, from now on: what was minutes on its way may arrive yet.
                sent_at = unit.now if batch.state is BatchState.CREATING and not batch.looks else batch.sent_at
                return self._save(unit, batch, worker=worker, held_until=unit.now + HOLD, sent_at=sent_at)
            return None

        if not self._store.read(lambda view: view.due_batches(limit=1)):
            return None
        return self._store.write(take)

    def contents(self, batch: Batch) -> Sequence[InBatch]:
        """Its items whose jobs still wait, with what they ask for."""

        def look(view: View) -> list[InBatch]:
            found = (in_batch(view, item, self._tools) for item in view.items(batch.id))
            return [one for one in found if one is not None and one.awaited]

        return self._store.read(look)

    def before(self, one: InBatch) -> Sequence[Exchanged]:
        """What was said before in its conversation. Raises `NotFound` if any of it is gone."""
        if one.request is None or not one.request.request.get("continueFrom"):
            return ()
        return self._store.read(lambda view: turns_before(view, one.job.id))

    def repair(self, one: InBatch) -> Repair | None:
        """What it answered before in this run, if that is to be mended."""
        return self._store.read(lambda view: view.repair(one.job.id, one.job.run))

    def content(self, batch: Batch, name: str) -> InBatch | None:
        """One item, if it belongs to that batch and its result was not taken in yet."""

        def look(view: View) -> InBatch | None:
            item = view.item(name)
            if item is None or item.done or item.batch_id != batch.id:
                return None
            return in_batch(view, item, self._tools)

        return self._store.read(look)

    def batch_of(self, name: str) -> str | None:
        """The id of the batch that has an item of that name, done or not."""
        item = self._store.read(lambda view: view.item(name))

        return None if item is None else item.batch_id

    def split(self, batch: Batch, groups: Sequence[Sequence[str]]) -> Batch:
        """Before it is sent: the first group stays, each of the others becomes a batch of its own."""

        def split(unit: Unit) -> Batch:
            items = {item.custom_id: item for item in unit.items(batch.id)}
            for group in groups[1:]:
                self._add(unit, batch, [items[name] for name in group if name in items])
            return self._save(unit, batch, count=len(groups[0]) if groups else 0)

        return self._store.write(split)

    def sending(self, batch: Batch, names: Collection[str]) -> Batch:
        """
        The batch is about to go out with those items, which may be paid for from now on; the others are no longer
        wanted.

        Raises `Conflict` if another worker has it by now, or if one of those jobs has left it since it was packed (it
        was cancelled, or is called live): nothing may be sent then.
        """

        def send(unit: Unit) -> Batch:
            for item in unit.items(batch.id):
                if item.custom_id not in names:
                    unit.item_done(item.custom_id)
                elif not is_awaited(unit, item):
                    raise Conflict("a job has left the batch since it was packed")
            unit.mark_batch_sent(batch.id)
            reach.found(unit)  # the connection stands, or there would be nothing to send
            return self._save(unit, batch, state=BatchState.CREATING, sent_at=unit.now, count=len(names))

        sent = self._store.write(send)
        failpoints.hit("batch.sending")

        return sent

    def created(self, batch: Batch, seen: BatchSeen) -> Batch:
        """Anthropic has it: by that id it is found again. An answer also says that the key works."""

        def record(unit: Unit) -> Batch:
            unit.mark_batch_sent(batch.id, seen.id)
            unpark(unit, batch.sent_at or batch.planned_at)
            return self._look_again(
                unit,
                batch,
                state=BatchState.CREATED,
                upstream_id=seen.id,
                expires_at=seen.expires_at,
                looks=0,
                misses=0,
            )

        failpoints.hit("batch.created")
        return self._store.write(record)

    def unanswered(self, batch: Batch, failure: Failure) -> Batch:
        """Whether it was made is not known: it is looked for."""
        return self._store.write(
            lambda unit: self._look_again(unit, batch, looks=0, detail=f"looked for: {failure.message}")
        )

    def refused(self, batch: Batch, failure: Failure) -> None:
        """
        It was certainly not made. What is wrong with one item must not sink the others: halves are tried, and a single
        one is called live, where it gets its own verdict. Anything else is a try that did not work for each of them.
        """

        def move(unit: Unit) -> list[Change]:
            self._save(unit, batch, state=BatchState.SETTLED, detail=failure.message, **_FREE)
            items = unit.items(batch.id)
            changes: list[Change] = []
            if failure.remedy is Remedy.FAIL and failure.reason not in _LIVE_WHERE and len(items) > 1:
                half = len(items) // 2
                for part in (items[:half], items[half:]):
                    self._add(unit, batch, part)
                return changes
            for item in items:
                unit.item_done(item.custom_id)
                one = in_batch(unit, item)
                if one is not None and one.awaited:
                    changes.append(self._not_made(unit, one, failure))
            if failure.remedy is Remedy.WAIT and changes:
                until = max(change.job.due_at for change in changes)
                unit.save_hold(Hold(scope="batches", reason=failure.type.value, since=unit.now, until=until))
            if failure.reason == "connect":
                reach.lost(unit, chance=self._tools.random.random())
            return changes

        self._announce(self._store.write(move))

    def never_made(self, batch: Batch) -> None:
        """It was looked for and is not there: its jobs go back, and nothing was paid."""

        def move(unit: Unit) -> list[Change]:
            self._save(unit, batch, state=BatchState.SETTLED, detail="it was never made", **_FREE)
            changes = []
            for item in unit.items(batch.id):
                unit.item_done(item.custom_id)
                one = in_batch(unit, item)
                if one is not None and one.awaited:
                    why = "the batch never reached Anthropic"
                    changes.append(batched.ungather(one.job, call=one.call, now=unit.now, why=why))
                    unit.save(changes[-1])
            return changes

        self._announce(self._store.write(move))

    def looked(self, batch: Batch, *, missed: bool = False, detail: str | None = None) -> Batch:
        """Nothing new: again later. `missed`: it, or something of it, was not to be had."""
        found: dict[str, object] = dict(looks=batch.looks + 1, misses=batch.misses + 1 if missed else 0)
        if detail is not None:
            found["detail"] = detail

        return self._store.write(lambda unit: self._look_again(unit, batch, **found))

    def give_back(self, batch: Batch, worker: str) -> None:
        """Nobody has it in hand any more, and it stands as it is in the store."""

        def free(unit: Unit) -> None:
            known = unit.batch(batch.id)
            if known is not None and known.worker == worker:
                free = self._look_again(unit, known)
                if free.state is BatchState.PLANNED:
                    unit.look_now(free.id)

        self._store.write(free)

    def dropped(self, batch: Batch) -> None:
        """Before it was sent, nothing is left in it that anyone waits for."""

        def drop(unit: Unit) -> None:
            for item in unit.items(batch.id):
                unit.item_done(item.custom_id)
            self._save(unit, batch, state=BatchState.SETTLED, detail="nothing was left to send", **_FREE)

        self._store.write(drop)

    def awaited(self, batch: Batch) -> int:
        """How many of its jobs still wait for it."""
        return self._store.read(lambda view: view.awaited(batch.id))

    def given_up(self, batch: Batch) -> Batch:
        """Its cancelling was asked for."""
        return self._store.write(lambda unit: self._save(unit, batch, cancelled_at=unit.now))

    def ended(self, batch: Batch) -> Batch:
        """Its results are there."""
        return self._store.write(
            lambda unit: self._save(unit, batch, state=BatchState.ENDED, ended_at=unit.now, looks=0, misses=0)
        )

    def settle(self, one: InBatch, end: Completion | Failure, *, canceled: bool = False) -> Job | None:
        """
        Take one result in: an outcome and its delivery, or another try. Once: None where that was done before.

        Nobody waits for it any more: the answer is dropped, what it cost is booked. `canceled`: the batch was given up
        before Claude came to it, so that an auto job goes live without a double cost.
        """

        def move(unit: Unit) -> Change | None:
            item = unit.item(one.item.custom_id)
            if item is None or item.done:
                return None
            unit.item_done(item.custom_id)
            known = in_batch(unit, item)
            change = None if known is None else results.take_in(unit, known, end, self._tools, canceled=canceled)
            failpoints.hit("batch.result")
            return change

        change = self._store.write(move)

        return None if change is None else self._announce([change])[0]

    def settled(self, batch: Batch) -> bool:
        """Whether all results are in; if so, the batch is done with."""

        def move(unit: Unit) -> bool:
            if unit.items(batch.id):
                return False
            self._save(unit, batch, state=BatchState.SETTLED, **_FREE)
            return True

        return self._store.write(move)

    def forgotten(self, batch: Batch, failure: Failure) -> None:
        """Its results will never be had: each of its items may have been paid for, and is tried again."""

        def move(unit: Unit) -> list[Change]:
            self._save(unit, batch, state=BatchState.SETTLED, detail=failure.message, **_FREE)
            changes = []
            for item in unit.items(batch.id):
                unit.item_done(item.custom_id)
                one = in_batch(unit, item)
                if one is not None and one.awaited:
                    changes.append(
                        results.fail(unit, one, replace(failure, ambiguous=True, remedy=Remedy.SOON), self._tools)
                    )
            return changes

        self._announce(self._store.write(move))

    def promote(self) -> Sequence[Job]:
        """Call live what a batch is too slow for; what is in one may be paid for twice then, and says so."""

        def late(view: View, limit: int) -> Sequence[Job]:
            sent_before = view.now - grace(self._tools.policy)
            return view.too_slow(unsent_before=view.now, sent_before=sent_before, limit=limit)

        def move(unit: Unit) -> list[Change]:
            changes = []
            for job in late(unit, _STEP):
                call = unit.call(job.id, job.calls) if job.state is State.BATCHED else None
                changes.append(batched.promote(job, call=call, now=unit.now, paid=call is not None and job.sent))
                unit.save(changes[-1])
            return changes

        if not self._store.read(lambda view: late(view, 1)):
            return []
        return self._announce(self._store.write(move))

    def next_at(self) -> float | None:
        """When the next batch is to be looked at."""
        return self._store.read(lambda view: view.next_batch_at())

    def known(self, upstream_ids: Collection[str]) -> set[str]:
        """Which of those are batches of ours."""
        return self._store.read(lambda view: view.known_upstream(upstream_ids))

    def _plan(self, unit: Unit, worker: str) -> Batch | None:
        budgets = Budgets(unit, self._tools.prices)
        jobs = next_jobs(unit, self._tools.policy, self._tools.prices)
        if not jobs:
            return None
        probing(unit)
        identity = self._tools.new_id(unit.now)
        items = []
        for job in jobs:
            number = gather(unit, job, worker=worker, budgets=budgets, tools=self._tools).calls
            name = custom_id(job.id, number)
            items.append(Item(custom_id=name, batch_id=identity, job_id=job.id, number=number))
        times = [job.give_up_at for job in jobs if job.give_up_at is not None]
        batch = Batch(
            id=identity,
            state=BatchState.PLANNED,
            version=1,
            planned_at=unit.now,
            count=len(items),
            next_at=unit.now,
            give_up_at=min(times) if times else None,
        )
        unit.add_batch(batch, items)

        return batch

    def _add(self, unit: Unit, like: Batch, items: Sequence[Item]) -> None:
        """A planned batch of items that another one had."""
        if not items:
            return
        identity = self._tools.new_id(unit.now)
        unit.add_batch(
            Batch(
                id=identity,
                state=BatchState.PLANNED,
                version=1,
                planned_at=like.planned_at,
                count=len(items),
                next_at=unit.now,
                give_up_at=like.give_up_at,
            ),
            items,
        )

    def _not_made(self, unit: Unit, one: InBatch, failure: Failure) -> Change:
        if failure.remedy is not Remedy.FAIL:
            return results.fail(unit, one, replace(failure, ambiguous=False), self._tools)
        change = batched.ungather(one.job, call=one.call, now=unit.now, why=failure.message, live=True)
        change = warned(change, f"the batch was refused, so it was called live, at the full price: {failure.message}")
        unit.save(change)

        return change

    def _look_again(self, unit: Unit, batch: Batch, **fields: object) -> Batch:
        ahead = replace(batch, **fields)  # type: ignore[arg-type]
        at = next_look(ahead, now=unit.now, policy=self._tools.policy)

        return self._save(unit, batch, **{**fields, "next_at": at, **_FREE})

    def _save(self, unit: Unit, batch: Batch, **fields: object) -> Batch:
        saved = replace(batch, version=batch.version + 1, **fields)  # type: ignore[arg-type]
        unit.save_batch(saved, batch.version)

        return saved

    def _announce(self, changes: Sequence[Change]) -> list[Job]:
        ready = [change.job.id for change in changes if change.ready_now and change.job.lane == "live"]
        if ready:
            self._tools.bell.ring(ready)

        return [change.job for change in changes]


_FREE: dict[str, object] = {"worker": None, "held_until": None}
