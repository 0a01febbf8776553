"""
The crash walk: each use case with its n-th statement or commit failing, n = 1, 2, 3 … until a run has no failure.

After each: the rows are legal, the failed action left nothing behind, and the same action then succeeds.
(The method: https://sqlite.org/testing.html#i_o_error_testing)
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.files.fetched import FetchedFile
from claude_relay.core.jobs.failure import PartialResponse, Remedy
from claude_relay.core.jobs.job import OnInterrupt
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.ports import BatchStatus, Store
from claude_relay.services import JobRef, Relay
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.postgres.schema import LOCK
from claude_relay.storage.postgres.session import Session
from claude_relay.storage.sqlite.runner import runner
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission
from tests.support.postgres import Cluster

R = JobRef(request_id="r")
#: Where a second look at the rows is taken: a file of SQLite, or a connection to PostgreSQL.
Place = Path | psycopg.Connection[Any]


class Failing:
    """A connection that fails from the n-th statement on, until disarmed; a rollback always works."""

    def __init__(self, real: apsw.Connection) -> None:
        self._real = real
        self.arm(0)

    def arm(self, at: int) -> None:
        self.at, self.count = at, 0

    def execute(self, sql: str, *args: Any, **options: Any) -> Any:
        if self.at and not sql.startswith("ROLLBACK"):
            self.count += 1
            if self.count >= self.at:
                raise apsw.IOError("the disk answers with an error")
        return self._real.execute(sql, *args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class FailingServer:
    """A PostgreSQL session whose server refuses the n-th statement and all after it, inside of whatever message."""

    _REFUSED = "DO $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$"

    def __init__(self, session: Session) -> None:
        self._send = session._send
        session._send = self.send  # type: ignore[method-assign]
        self.arm(0)

    def arm(self, at: int) -> None:
        self.at, self.count = at, 0

    def send(self, *statements: str) -> Any:
        refused = [self._sent(sql) for sql in statements]
        return self._send(*refused)

    def _sent(self, sql: str) -> str:
        self.count += 1
        return self._REFUSED if self.at and self.count >= self.at else sql


class World:
    """A relay on a connection that can fail on demand."""

    store: Store
    failing: Failing | FailingServer

    def __init__(self, place: Place, url: str = "") -> None:
        self.clock = Clock()
        self.place = place
        if isinstance(place, psycopg.Connection):
            self.store = PostgresStore(url, where="the test's", clock=self.clock)
            self.failing = FailingServer(self.store._session)
        else:
            self.store = SqliteStore(place, clock=self.clock)
            self.failing = Failing(self.store._writing)
            session = self.store._session
            session._connection, session._run = self.failing, runner(self.failing)  # type: ignore[assignment,arg-type]
        self.relay = Relay(
            self.store,
            QuietNotifier(),
            Policy(batch_linger=0.0, public_url="https://relay.example", ack_remind=60.0),
            rng=random.Random(1),
        )

    def claimed(self, **fields: Any) -> Any:
        self.relay.submit(a_submission("r", **fields))
        [claimed] = self.relay.execution.claim("w", limit=1)
        self.relay.execution.sending(claimed)
        return claimed

    def finished(self, **fields: Any) -> Any:
        self.relay.execution.complete(self.claimed(**fields), a_completion())

    def to_send(self) -> Any:
        self.finished()
        self.clock.advance(2)
        [entry] = self.relay.deliveries.claim("w", limit=1, at_once=1)
        return entry

    def dump(self) -> list[Any]:
        """Every row except the clock's."""
        tables = (
            "jobs",
            "requests",
            "outcomes",
            "calls",
            "partials",
            "deliveries",
            "posts",
            "events",
            "holds",
            "groups",
            "batches",
            "batch_items",
            "acks",
            "ack_groups",
            "fetched_files",
            "memos",
        )
        with looking(self.place) as run:
            return [run(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]


@contextlib.contextmanager
def looking(place: Place) -> Iterator[Callable[[str], Any]]:
    """A second connection, as the writer's belongs to its thread. Checks that no transaction was left open."""
    if isinstance(place, psycopg.Connection):
        with place.transaction():
            place.execute(f"SET LOCAL lock_timeout = '5s'; SELECT pg_advisory_xact_lock({LOCK})")
            yield place.execute
        return
    connection = apsw.Connection(str(place))
    try:
        connection.set_busy_timeout(5000)
        connection.execute("BEGIN IMMEDIATE")
        yield connection.execute
    finally:
        connection.close(True)


def legal(place: Place) -> None:
    """Check the invariants of the rows, of a SQLite file or a database of PostgreSQL."""
    with looking(place) as run:
        _legal(run)
        if isinstance(place, Path):  # a server checks foreign keys by itself
            assert run("PRAGMA foreign_key_check").fetchall() == []


def _legal(run: Callable[[str], Any]) -> None:
    def none(sql: str) -> None:
        assert run(sql).fetchall() == [], sql

    none("SELECT id FROM jobs WHERE (state = 'running') <> (lease_token IS NOT NULL)")
    none("SELECT j.id FROM jobs j WHERE j.finished_at IS NOT NULL AND (SELECT count(*) FROM outcomes o"
         " WHERE o.job_id = j.id AND o.run = j.run) <> 1")  # fmt: skip
    none("SELECT j.id FROM jobs j JOIN outcomes o ON o.job_id = j.id AND o.run = j.run WHERE j.finished_at IS NULL")
    wanted = "SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.run = j.run"
    none(f"""SELECT j.id FROM jobs j JOIN requests q ON q.job_id = j.id
             WHERE j.finished_at IS NOT NULL AND q.webhook_url IS NOT NULL AND NOT EXISTS ({wanted})""")
    none("SELECT job_id FROM deliveries GROUP BY job_id, run HAVING count(*) > 1")
    none("SELECT j.id FROM jobs j WHERE j.state = 'running' AND NOT EXISTS"
         " (SELECT 1 FROM calls c WHERE c.job_id = j.id AND c.number = j.calls AND c.outcome IS NULL)")  # fmt: skip
    none("SELECT c.job_id FROM calls c JOIN jobs j ON j.id = c.job_id WHERE c.outcome IS NULL"
         " AND NOT (j.state IN ('running', 'batched') AND c.number = j.calls)")  # fmt: skip
    none("SELECT j.id FROM jobs j WHERE j.state = 'batched' AND NOT EXISTS (SELECT 1 FROM batch_items i JOIN batches b"
         " ON b.id = i.batch_id WHERE i.job_id = j.id AND i.number = j.calls AND i.done = 0"
         " AND b.state <> 'settled')")  # fmt: skip
    none("SELECT b.id FROM batches b JOIN batch_items i ON i.batch_id = b.id WHERE b.state = 'settled' AND i.done = 0")
    none("SELECT j.id FROM jobs j WHERE j.version <> (SELECT max(version) FROM events e"
         " WHERE e.job_id = j.id AND e.subject = 'job')")  # fmt: skip


def _held(world: World) -> None:
    claimed = world.claimed(on_interrupt=OnInterrupt.HOLD)
    world.relay.execution.interrupt(claimed, PartialResponse(text="half"), why="x")


def _planned(world: World, **fields: Any) -> Any:
    for name in ("r", "s"):
        world.relay.submit(a_submission(name, **({"mode": "batch"} | fields)))
    world.relay.batches.plan("w")
    batch = world.relay.batches.claim_due("w")
    assert batch is not None
    return batch


def _refuse(world: World, batch: Any, remedy: Remedy) -> Any:
    return world.relay.batches.mark_create_refused(batch, a_failure(remedy=remedy))


def _names(world: World, batch: Any) -> list[str]:
    return [entry.item.custom_id for entry in world.relay.batches.contents(batch)]


def _sent(world: World, **fields: Any) -> Any:
    batch = _planned(world, **fields)
    return world.relay.batches.sending(batch, _names(world, batch))


def _created(world: World, **fields: Any) -> Any:
    seen = BatchStatus(id="msgbatch_1", ended=False, count=2, created_at=world.clock())
    return world.relay.batches.mark_created(_sent(world, **fields), seen)


def _result(world: World) -> Any:
    batch = world.relay.batches.mark_ended(_created(world))
    return world.relay.batches.contents(batch)[0]


def _late_result(world: World) -> Any:
    entry = _result(world)
    world.relay.cancel(R)
    return entry


def _late_in_batch(world: World) -> None:
    _created(world, deadline_at=world.clock() + 1)
    world.clock.advance(2)


def _too_slow(world: World) -> None:
    _created(world, mode="auto", need_by=world.clock() + 7200)
    world.clock.advance(7200)


def _due(world: World) -> None:
    world.finished()
    world.clock.advance(2)


def _token(world: World) -> str:
    return str(json.loads(world.relay.queries.result(R) or b"")["ackUrl"].rpartition("/")[2])


def _delivered(world: World) -> str:
    world.relay.deliveries.record_attempt(world.to_send(), Reply(status=200))
    return _token(world)


def _forgotten(world: World) -> None:
    """Delivered and not acknowledged, in a group where another result was."""
    _delivered(world)
    world.relay.submit(a_submission("s"))
    [claimed] = world.relay.execution.claim("w", limit=1)
    world.relay.execution.complete(claimed, a_completion())
    other = json.loads(world.relay.queries.result(JobRef(request_id="s")) or b"")
    world.relay.acks.ack(other["ackUrl"].rpartition("/")[2])
    world.clock.advance(61)


_PDF = FetchedFile(number=0, media_type="application/pdf", size=5, sha256="0" * 64, at=1.0)


def _late(world: World) -> Any:
    world.relay.submit(a_submission("r", deadline_at=world.clock() + 1))
    world.clock.advance(2)


CASES: dict[str, tuple[Callable[[World], Any], Callable[[World, Any], Any]]] = {
    "submit": (lambda w: None, lambda w, _: w.relay.submit(a_submission("r"))),
    "bulk": (lambda w: None, lambda w, _: w.relay.submit_many([a_submission("r"), a_submission("s")])),
    "claim": (lambda w: w.relay.submit(a_submission("r")), lambda w, _: w.relay.execution.claim("w", limit=1)),
    "sending": (World.claimed, lambda w, c: w.relay.execution.sending(c)),
    "checkpoint": (World.claimed, lambda w, c: w.relay.execution.checkpoint(c, PartialResponse(text="x"))),
    "complete": (World.claimed, lambda w, c: w.relay.execution.complete(c, a_completion())),
    "fail, again": (World.claimed, lambda w, c: w.relay.execution.fail(c, a_failure())),
    "fail, for good": (World.claimed, lambda w, c: w.relay.execution.fail(c, a_failure(remedy=Remedy.FAIL))),
    "fail, throttled": (World.claimed, lambda w, c: w.relay.execution.fail(c, a_failure(remedy=Remedy.THROTTLE))),
    "fail, parked": (World.claimed, lambda w, c: w.relay.execution.fail(c, a_failure(remedy=Remedy.PARK))),
    "release": (World.claimed, lambda w, c: w.relay.execution.release(c)),
    "interrupt": (World.claimed, lambda w, c: w.relay.execution.interrupt(c, PartialResponse(text="half"), why="x")),
    "reap": (World.claimed, lambda w, c: w.relay.execution.reap(c.job.id, c.token, why="x")),
    "cancel, waiting": (lambda w: w.relay.submit(a_submission("r")), lambda w, _: w.relay.cancel(R)),
    "cancel, running": (World.claimed, lambda w, _: w.relay.cancel(R)),
    "expire": (_late, lambda w, _: w.relay.maintenance.expire()),
    "retry": (World.finished, lambda w, _: w.relay.retry(R)),
    "retry, held": (_held, lambda w, _: w.relay.retry(R)),
    "keep a file": (World.claimed, lambda w, c: w.relay.fetched_files.keep(c, _PDF, b"%PDF-", ms=1)),
    "ack": (_delivered, lambda w, token: w.relay.acks.ack(token)),
    "remind": (_forgotten, lambda w, _: w.relay.acks.remind()),
    "deliver": (_due, lambda w, _: w.relay.deliveries.claim("w", limit=1, at_once=1)),
    "delivered": (World.to_send, lambda w, entry: w.relay.deliveries.record_attempt(entry, Reply(status=200))),
    "not delivered": (World.to_send, lambda w, entry: w.relay.deliveries.record_attempt(entry, Reply(status=500))),
    "delivery reaped": (World.to_send, lambda w, entry: w.relay.deliveries.release(entry)),
    "redeliver": (
        lambda w: w.relay.deliveries.record_attempt(w.to_send(), Reply(status=410)),
        lambda w, _: w.relay.redeliver(R),
    ),
    "gather": (
        lambda w: w.relay.submit(a_submission("r", mode="batch")),
        lambda w, _: w.relay.batches.plan("w"),
    ),
    "batch claimed": (
        lambda w: (w.relay.submit(a_submission("r", mode="batch")), w.relay.batches.plan("w")),
        lambda w, _: w.relay.batches.claim_due("w"),
    ),
    "batch split": (_planned, lambda w, b: w.relay.batches.split(b, [[name] for name in _names(w, b)])),
    "batch about to be sent": (_planned, lambda w, b: w.relay.batches.sending(b, _names(w, b))),
    "batch created": (
        _sent,
        lambda w, b: w.relay.batches.mark_created(
            b, BatchStatus(id="msgbatch_1", ended=False, count=2, created_at=w.clock())
        ),
    ),
    "batch refused, halved": (_sent, lambda w, b: _refuse(w, b, Remedy.FAIL)),
    "batch refused, throttled": (_sent, lambda w, b: _refuse(w, b, Remedy.THROTTLE)),
    "batch refused, parked": (_sent, lambda w, b: _refuse(w, b, Remedy.PARK)),
    "batch not created": (_sent, lambda w, b: w.relay.batches.mark_not_created(b)),
    "batch results lost": (_created, lambda w, b: w.relay.batches.mark_results_lost(b, a_failure())),
    "batch result": (_result, lambda w, entry: w.relay.batches.record_result(entry, a_completion())),
    "batch result, failed": (_result, lambda w, entry: w.relay.batches.record_result(entry, a_failure())),
    "batch result, late": (_late_result, lambda w, entry: w.relay.batches.record_result(entry, a_completion())),
    "cancel, in a batch": (_created, lambda w, _: w.relay.cancel(R)),
    "expire, in a batch": (_late_in_batch, lambda w, _: w.relay.maintenance.expire()),
    "promote": (_too_slow, lambda w, _: w.relay.batches.promote()),
    "pause": (lambda w: None, lambda w, _: w.relay.pause("g")),
    "resume": (lambda w: w.relay.pause(), lambda w, _: w.relay.resume()),
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[[], World]]:
    worlds: list[World] = []

    def make() -> World:
        worlds.append(World(tmp_path / f"{len(worlds)}" / "relay.db"))
        return worlds[-1]

    yield make
    for entry in worlds:
        entry.store.close()


@pytest.mark.faults
@pytest.mark.parametrize("name", CASES)
def test_a_use_case_is_atomic(world: Callable[[], World], name: str) -> None:
    prepare, act = CASES[name]
    at = 0
    while True:
        at += 1
        here = world()
        prepared = prepare(here)
        earlier = here.dump()
        here.failing.arm(at)
        try:
            act(here, prepared)
        except StoreUnavailable:
            here.failing.arm(0)
            legal(here.place)
            assert here.dump() == earlier, f"statement {at} left something behind"
            act(here, prepared)  # it can be repeated
            legal(here.place)
            continue
        here.failing.arm(0)
        legal(here.place)
        break

    assert at > 1, "the walk met no statement"


@pytest.mark.faults
@pytest.mark.parametrize("name", CASES)
def test_a_use_case_is_atomic_on_postgresql(postgres: Cluster, name: str) -> None:
    """The server refuses the n-th statement of a message; in one database, as no failure leaves anything behind."""
    prepare, act = CASES[name]
    with postgres.place() as url, psycopg.connect(url, autocommit=True) as looker:
        here = World(looker, url)
        try:
            prepared = prepare(here)
            earlier, at = here.dump(), 0
            while True:
                at += 1
                here.failing.arm(at)
                try:
                    act(here, prepared)
                    break
                except StoreUnavailable:
                    assert here.dump() == earlier, f"statement {at} left something behind"
            legal(looker)
        finally:
            here.failing.arm(0)
            here.store.close()

    assert at > 1, "the walk met no statement"
