"""Random sequences of actions by callers and workers on batches, with an upstream that keeps books and a fake clock."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.batches import Batch, BatchState
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.jobs.job import State
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict
from claude_relay.ports import BatchStatus, JobFilter
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.faults.test_crash_walk import legal
from tests.support import proof
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

PRICE = 0.001
ENDS = ("answered", "answered", "made", "lost", "bad", "throttled", "no batches", "split")
KINDS = ("succeeded", "succeeded", "succeeded", "errored", "canceled", "invalid")


class Walk:
    """The upstream's books and the ledger must agree after every action."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.path = Path(self.folder.name) / "relay.db"
        self.store = SqliteStore(self.path, clock=self.clock)
        self.relay = Relay(self.store, QuietNotifier(), Policy(batch_size=3, batch_linger=5.0), rng=random.Random(1))
        self.numbers, self.ids = itertools.count(), itertools.count(1)
        self.accepted: list[str] = []
        self.claims: list[Batch] = []  # the claims that some worker believes to have
        self.created: dict[str, list[str]] = {}  # upstream's batches, recorded in the store or not
        self.of: dict[str, str] = {}  # our batch's id to upstream's
        self.results: dict[str, Any] = {}  # the result of each custom_id, fixed once: upstream does not change it
        self.taken_in: Counter[str] = Counter()

    def close(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def submit(self) -> None:
        mode, late = self.rng.choice(("batch", "batch", "auto")), self.rng.random() < 0.3
        name = f"r-{next(self.numbers)}"
        fields: dict[str, Any] = {"need_by": self.clock() + 3000} if mode == "auto" else {}
        fields |= {"deadline_at": self.clock() + 4000} if late else {}
        self.relay.submit(a_submission(name, mode=mode, **fields))
        self.accepted.append(name)

    def plan(self) -> None:
        self.clock.advance(5.0)
        self.relay.batches.plan(self._worker())

    def take(self) -> None:
        """The next step of a batch, once it is due."""
        self.clock.advance(max(0.0, min(60.0, (self.relay.batches.next_at() or 0.0) - self.clock())))
        if (batch := self.relay.batches.claim_due(self._worker())) is not None:
            self.claims.append(batch)

    def go_on(self) -> None:
        """A worker runs the next step of a claimed batch, whose claim it may have lost."""
        if not self.claims:
            return
        batch, end = self.claims.pop(self.rng.randrange(len(self.claims))), self.rng.choice(ENDS)
        with contextlib.suppress(Conflict):
            if batch.state is BatchState.PLANNED:
                self._send(batch, end)
            elif batch.state is BatchState.CREATING:
                self._search(batch)
            elif batch.state is BatchState.CREATED:
                self._read(
                    self.relay.batches.mark_ended(batch)
                ) if end != "lost" else self.relay.batches.reschedule_poll(batch)
            else:
                self._read(batch)

    def _send(self, batch: Batch, end: str) -> None:
        names = [entry.item.custom_id for entry in self.relay.batches.contents(batch)]
        if not names:
            return self.relay.batches.mark_empty(batch)
        if end == "split" and len(names) > 1:
            batch, names = self.relay.batches.split(batch, [names[:1], names[1:]]), names[:1]
        if self.rng.random() < 0.2:  # someone cancels one while the batch is packed
            with contextlib.suppress(Conflict):
                self.relay.cancel(JobRef(request_id=self.rng.choice(self.accepted)))
        batch = self.relay.batches.sending(batch, names)
        if end in ("answered", "made", "split"):
            upstream = f"msgbatch_{next(self.ids)}"
            self.created[upstream], self.of[batch.id] = names, upstream
        if end in ("answered", "split"):
            self._created(batch)
        elif end in ("made", "lost"):
            self.relay.batches.mark_create_unknown(batch, a_failure(ambiguous=True))
        else:
            remedy = Remedy.THROTTLE if end == "throttled" else Remedy.FAIL
            reason = "http_404" if end == "no batches" else "http_400"
            self.relay.batches.mark_create_refused(batch, a_failure(ErrorType.UPSTREAM, remedy, reason=reason))
        return None

    def _created(self, batch: Batch) -> None:
        upstream = self.of[batch.id]
        seen = BatchStatus(id=upstream, ended=False, count=len(self.created[upstream]), created_at=self.clock())
        self.relay.batches.mark_created(batch, seen)

    def _search(self, batch: Batch) -> None:
        self._created(batch) if batch.id in self.of else self.relay.batches.mark_not_created(batch)

    def _read(self, batch: Batch) -> None:
        """Some of the results; the worker may die before the rest."""
        names = self.created[batch.upstream_id or ""]
        for name in names[: self.rng.randint(0, len(names))]:
            if name not in self.results:
                self.results[name] = self.rng.choice(KINDS)
            if (entry := self.relay.batches.content(batch, name)) is None:
                continue
            kind = self.results[name]
            end = {
                "succeeded": a_completion(cost_usd=PRICE),
                "errored": a_failure(cost_usd=0.0),
                "canceled": a_failure(cost_usd=0.0),
                "invalid": a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL, cost_usd=0.0),
            }[kind]
            self.relay.batches.record_result(entry, end, canceled=kind == "canceled")  # type: ignore[arg-type]
            self.taken_in[name] += 1
        self.relay.batches.finish_if_complete(batch) or self.relay.batches.reschedule_poll(batch)

    def die(self) -> None:
        """Its claims may be taken over; it does not know, and may continue."""
        self.relay.maintenance.deregister(self._worker())

    def live(self) -> None:
        for claimed in self.relay.execution.claim("w1", limit=1):
            self.relay.execution.sending(claimed)
            if self.rng.random() < 0.5:
                self.relay.execution.complete(claimed, a_completion(cost_usd=0.0))
            else:
                self.relay.execution.fail(claimed, a_failure(cost_usd=0.0))

    def ask(self) -> None:
        if not self.accepted:
            return
        with contextlib.suppress(Conflict):
            getattr(self.relay, self.rng.choice(("cancel", "retry")))(JobRef(request_id=self.rng.choice(self.accepted)))

    def pause(self) -> None:
        self.relay.pause() if self.rng.random() < 0.3 else self.relay.resume()

    def time_passes(self) -> None:
        self.clock.advance(self.rng.choice((1.0, 6.0, 100.0, 1500.0)))
        self.relay.batches.promote()
        self.relay.maintenance.expire()

    def rows_are_legal(self) -> None:
        legal(self.path)

    def the_ledger_has_what_upstream_was_paid(self) -> None:
        """Each recorded answer, once; also of jobs that no longer waited for it."""
        paid = sum(self.results[name] == "succeeded" for name in self.taken_in) * PRICE
        calls = self.store.read(lambda tx: [call for job in tx.jobs(JobFilter(limit=500)) for call in tx.calls(job.id)])
        assert abs(sum(call.cost_usd or 0.0 for call in calls if call.mode == "batch") - paid) < 1e-9

    def what_upstream_has_is_admitted(self) -> None:
        """An item of a created and recorded batch is in the ledger as sent."""
        known = {upstream for ours, upstream in self.of.items() if self._state(ours) is not BatchState.PLANNED}
        names = {name for upstream in known for name in self.created[upstream]}
        sent = self.store.read(
            lambda tx: {
                f"{job.id}-{call.number}"
                for job in tx.jobs(JobFilter(limit=500))
                for call in tx.calls(job.id)
                if call.sent
            }
        )
        assert names <= sent

    def nobody_waits_for_nothing(self) -> None:
        """A batched job has an item in an unfinished batch, which `legal` checks; and no job is in two batches."""
        batched = self.store.read(lambda tx: tx.jobs(JobFilter(states=(State.BATCHED,), limit=500)))
        open_items = [
            item.job_id
            for job in batched
            if (item := self.store.read(lambda tx, job=job: tx.item_of_call(job.id, job.calls))) and not item.done
        ]
        assert sorted(open_items) == sorted(job.id for job in batched)

    def _worker(self) -> str:
        return self.rng.choice(("w1", "w2"))

    def _state(self, batch_id: str) -> BatchState | None:
        batch = self.store.read(lambda tx: tx.batch(batch_id))
        return batch.state if batch else None


MOVES = {
    Walk.submit: 6,
    Walk.plan: 4,
    Walk.take: 6,
    Walk.go_on: 8,
    Walk.die: 2,
    Walk.live: 2,
    Walk.ask: 2,
    Walk.pause: 1,
    Walk.time_passes: 2,
}


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(proof.seed(0), proof.seed(0) + proof.size(3, 60)))
def test_the_books_agree_after_any_sequence_of_actions(seed: int) -> None:
    walk = Walk(seed)
    try:
        for step in range(300):
            [move] = walk.rng.choices(list(MOVES), list(MOVES.values()))
            move(walk)
            if step % 5:
                continue
            walk.rows_are_legal()
            walk.the_ledger_has_what_upstream_was_paid()
            walk.what_upstream_has_is_admitted()
            walk.nobody_waits_for_nothing()
        assert len(walk.taken_in) > 5, "the walk led nowhere"
    finally:
        walk.close()
