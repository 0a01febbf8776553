"""Random sequences of actions by callers and several workers, on a real store and a fake clock."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy
from claude_relay.core.jobs.job import OnInterrupt
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.sqlite.store import SqliteStore
from tests.faults.test_crash_walk import Place, legal
from tests.support import proof
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission
from tests.support.postgres import Cluster

WORKERS = st.sampled_from(("w1", "w2", "w3"))


class Moves(RuleBasedStateMachine):
    """Answers to callers must stay true, whatever the workers do."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.resources = contextlib.ExitStack()
        self.place, self.store = self.open()
        self.resources.callback(self.store.close)
        self.relay = Relay(self.store, QuietNotifier(), Policy(), rng=random.Random(1))
        self.numbers = itertools.count()
        self.accepted: list[str] = []
        self.claimed_jobs: list[Any] = []  # claims that some worker believes to have
        self.sent: dict[str, int] = {}
        self.on_the_way: set[str] = set()  # tokens of claims whose first byte is out
        self.posts: list[Any] = []
        self.webhook_ids: dict[tuple[str, int], str] = {}
        self.outcomes: dict[tuple[str, int], bytes] = {}

    def open(self) -> tuple[Place, Store]:
        """An empty store, and its place for a second look."""
        path = Path(self.resources.enter_context(tempfile.TemporaryDirectory())) / "relay.db"
        return path, SqliteStore(path, clock=self.clock)

    def teardown(self) -> None:
        self.resources.close()

    @rule(policy=st.sampled_from(OnInterrupt), group=st.sampled_from("ab"), late=st.booleans())
    def submit(self, policy: OnInterrupt, group: str, late: bool) -> None:
        name = f"r-{next(self.numbers)}"
        deadline = self.clock() + 100 if late else None
        self.relay.submit(a_submission(name, on_interrupt=policy, group=group, deadline_at=deadline))
        self.accepted.append(name)

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        self.claimed_jobs += self.relay.execution.claim(worker, limit=limit)

    def _pick(self, data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(self.claimed_jobs))

    @precondition(lambda self: self.claimed_jobs)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        claimed = self._pick(data)
        with contextlib.suppress(Conflict):
            if claimed.token not in self.on_the_way:
                self._send(claimed)

    def _send(self, claimed: Any) -> None:
        """Mark the call as sent, if its lease is still valid."""
        self.relay.execution.sending(claimed)
        self.on_the_way.add(claimed.token)
        self.sent[claimed.job.request_id] = self.sent.get(claimed.job.request_id, 0) + 1

    @precondition(lambda self: self.claimed_jobs)
    @rule(data=st.data(), remedy=st.sampled_from([None, *Remedy]))
    def end(self, data: st.DataObject, remedy: Remedy | None) -> None:
        claimed = self._pick(data)
        self.claimed_jobs.remove(claimed)
        with contextlib.suppress(Conflict):  # its lease was taken back: rightly refused
            if claimed.token not in self.on_the_way:
                self._send(claimed)  # only a sent call can end
            if remedy is None:
                self.relay.execution.complete(claimed, a_completion())
            else:
                self.relay.execution.fail(claimed, a_failure(ErrorType.UPSTREAM, remedy))

    @precondition(lambda self: self.claimed_jobs)
    @rule(data=st.data(), how=st.sampled_from(("reap", "interrupt", "release")))
    def lose(self, data: st.DataObject, how: str) -> None:
        claimed = self._pick(data)
        with contextlib.suppress(Conflict):
            if how == "reap":  # the worker does not know, and may try to end it later
                self.relay.execution.reap(claimed.job.id, claimed.token, why="died")
            elif how == "interrupt":
                self.relay.execution.interrupt(claimed, PartialResponse(text="half"), why="stopped")
            else:
                self.relay.execution.release(claimed)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), move=st.sampled_from(("cancel", "retry", "redeliver")))
    def ask(self, data: st.DataObject, move: str) -> None:
        ref = JobRef(request_id=data.draw(st.sampled_from(self.accepted)))
        with contextlib.suppress(Conflict):
            getattr(self.relay, move)(ref)

    @rule(group=st.sampled_from(("a", None)), on=st.booleans())
    def pause(self, group: str | None, on: bool) -> None:
        self.relay.pause(group) if on else self.relay.resume(group)

    @rule()
    def deliver(self) -> None:
        self.posts += self.relay.deliveries.claim("w1", limit=3, at_once=3)

    @precondition(lambda self: self.posts)
    @rule(status=st.sampled_from((200, 404, 410, 503)))
    def settle(self, status: int) -> None:
        item = self.posts.pop()
        stored = self.webhook_ids.setdefault((item.request_id, item.delivery.run), item.delivery.webhook_id)
        assert stored == item.delivery.webhook_id
        body = self.outcomes.setdefault((item.request_id, item.delivery.run), item.body)
        assert body == item.body  # frozen
        self.relay.deliveries.record_attempt(item, Reply(status=status))

    @rule(seconds=st.sampled_from((0.5, 5.0, 61.0, 500.0, 90_000.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.relay.maintenance.expire()

    @invariant()
    def rows_are_legal(self) -> None:
        legal(self.place)

    @invariant()
    def everything_accepted_is_there(self) -> None:
        for name in self.accepted:
            self.relay.queries.status(JobRef(request_id=name))

    @invariant()
    def the_ledger_admits_every_byte_sent(self) -> None:
        for name, times in self.sent.items():
            calls = self.relay.queries.job_details(JobRef(request_id=name))["calls"]
            assert sum(call["sent"] for call in calls) >= 1
            assert sum(call["sent"] for call in calls) <= times


Moves.TestCase.pytestmark = [pytest.mark.timeout(proof.size(120, 1800))]
Moves.TestCase.settings = settings(
    max_examples=proof.size(40, 1000),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMoves = Moves.TestCase


class MovesOnPostgres(Moves):
    """The same with a server."""

    cluster: ClassVar[Cluster]

    def open(self) -> tuple[Place, Store]:
        url = self.resources.enter_context(self.cluster.place())
        looker = self.resources.enter_context(psycopg.connect(url, autocommit=True))
        return looker, PostgresStore(url, where="the test's", clock=self.clock)


@pytest.fixture(scope="module")
def machine_server(postgres: Cluster) -> None:
    MovesOnPostgres.cluster = postgres


MovesOnPostgres.TestCase.pytestmark = [
    pytest.mark.timeout(proof.size(120, 1800)),
    pytest.mark.usefixtures("machine_server"),
]
MovesOnPostgres.TestCase.settings = settings(Moves.TestCase.settings, max_examples=proof.size(8, 300))
TestMovesOnPostgres = MovesOnPostgres.TestCase
