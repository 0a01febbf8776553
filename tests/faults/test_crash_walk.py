"""
The crash walk: each use case with its n-th statement or commit failing, n = 1, 2, 3 … until a run meets none.

After each: the rows are legal, nothing of the failed move is there, and the same move then succeeds.
(The method: https://sqlite.org/testing.html#i_o_error_testing)
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from claude_relay.core.delivery import Reply
from claude_relay.core.failure import Partial, Remedy
from claude_relay.core.fetching import KeptFile
from claude_relay.core.job import OnInterrupt
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.ports import BatchSeen
from claude_relay.relay import Ref, Relay
from claude_relay.storage import sqlite
from claude_relay.storage.sqlite import SqliteStore
from tests.support.builders import Clock, QuietBell, a_completion, a_failure, a_submission

R = Ref(request_id="r")


class Failing:
    """A connection that fails from the n-th statement on, until it is disarmed; a rollback always works."""

    def __init__(self, real: apsw.Connection) -> None:
        self._real = real
        self.arm(0)

    def arm(self, at: int) -> None:
        self.at, self.count = at, 0

    def execute(self, sql: str, *args: Any) -> Any:
        if self.at and not sql.startswith("ROLLBACK"):
            self.count += 1
            if self.count >= self.at:
                raise apsw.IOError("the disk answers with an error")
        return self._real.execute(sql, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class World:
    """A relay on a connection that can be made to fail."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.path = path
        self.store = SqliteStore(path, clock=self.clock)
        self.failing = Failing(self.store._writing)
        session = self.store._session
        session._connection, session._run = self.failing, sqlite._runner(self.failing)  # type: ignore[assignment,arg-type]
        self.relay = Relay(
            self.store, QuietBell(), Policy(batch_linger=0.0, public_url="https://relay.example", ack_remind=60.0)
        )

    def claimed(self, **fields: Any) -> Any:
        self.relay.submit(a_submission("r", **fields))
        [claimed] = self.relay.work.claim("w", limit=1)
        self.relay.work.sending(claimed)
        return claimed

    def finished(self, **fields: Any) -> Any:
        self.relay.work.complete(self.claimed(**fields), a_completion())

    def to_send(self) -> Any:
        self.finished()
        self.clock.advance(2)
        [one] = self.relay.post.claim("w", limit=1, at_once=1)
        return one

    def dump(self) -> list[Any]:
        """Every row there is, but for the clock's."""
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
        with looking(self.path) as run:
            return [run(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]


@contextlib.contextmanager
def looking(path: Path) -> Iterator[Callable[[str], Any]]:
    """A connection of its own: the writer's is its thread's. It finds that no other has left a transaction open."""
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(5000)
        connection.execute("BEGIN IMMEDIATE")
        yield connection.execute
    finally:
        connection.close(True)


def legal(path: Path) -> None:
    """What must hold of the rows at any time."""
    with looking(path) as run:
        _legal(run)


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
    none("PRAGMA foreign_key_check")


def _held(world: World) -> None:
    claimed = world.claimed(on_interrupt=OnInterrupt.HOLD)
    world.relay.work.interrupt(claimed, Partial(text="half"), why="x")


def _planned(world: World, **fields: Any) -> Any:
    for name in ("r", "s"):
        world.relay.submit(a_submission(name, **({"mode": "batch"} | fields)))
    world.relay.batches.plan("w")
    batch = world.relay.batches.take("w")
    assert batch is not None
    return batch


def _names(world: World, batch: Any) -> list[str]:
    return [one.item.custom_id for one in world.relay.batches.contents(batch)]


def _sent(world: World, **fields: Any) -> Any:
    batch = _planned(world, **fields)
    return world.relay.batches.sending(batch, _names(world, batch))


def _created(world: World, **fields: Any) -> Any:
    seen = BatchSeen(id="msgbatch_1", ended=False, count=2, created_at=world.clock())
    return world.relay.batches.created(_sent(world, **fields), seen)


def _result(world: World) -> Any:
    batch = world.relay.batches.ended(_created(world))
    return world.relay.batches.contents(batch)[0]


def _late_result(world: World) -> Any:
    one = _result(world)
    world.relay.cancel(R)
    return one


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
    return str(json.loads(world.relay.read.result(R) or b"")["ackUrl"].rpartition("/")[2])


def _delivered(world: World) -> str:
    world.relay.post.settle(world.to_send(), Reply(status=200))
    return _token(world)


def _forgotten(world: World) -> None:
    """Delivered and not acknowledged, in a group where another one was."""
    _delivered(world)
    world.relay.submit(a_submission("s"))
    [claimed] = world.relay.work.claim("w", limit=1)
    world.relay.work.complete(claimed, a_completion())
    other = json.loads(world.relay.read.result(Ref(request_id="s")) or b"")
    world.relay.acks.ack(other["ackUrl"].rpartition("/")[2])
    world.clock.advance(61)


_PDF = KeptFile(number=0, media_type="application/pdf", size=5, sha256="0" * 64, at=1.0)


def _late(world: World) -> Any:
    world.relay.submit(a_submission("r", deadline_at=world.clock() + 1))
    world.clock.advance(2)


CASES: dict[str, tuple[Callable[[World], Any], Callable[[World, Any], Any]]] = {
    "submit": (lambda w: None, lambda w, _: w.relay.submit(a_submission("r"))),
    "bulk": (lambda w: None, lambda w, _: w.relay.submit_many([a_submission("r"), a_submission("s")])),
    "claim": (lambda w: w.relay.submit(a_submission("r")), lambda w, _: w.relay.work.claim("w", limit=1)),
    "sending": (World.claimed, lambda w, c: w.relay.work.sending(c)),
    "checkpoint": (World.claimed, lambda w, c: w.relay.work.checkpoint(c, Partial(text="x"))),
    "complete": (World.claimed, lambda w, c: w.relay.work.complete(c, a_completion())),
    "fail, again": (World.claimed, lambda w, c: w.relay.work.fail(c, a_failure())),
    "fail, for good": (World.claimed, lambda w, c: w.relay.work.fail(c, a_failure(remedy=Remedy.FAIL))),
    "fail, throttled": (World.claimed, lambda w, c: w.relay.work.fail(c, a_failure(remedy=Remedy.WAIT))),
    "fail, parked": (World.claimed, lambda w, c: w.relay.work.fail(c, a_failure(remedy=Remedy.PARK))),
    "release": (World.claimed, lambda w, c: w.relay.work.release(c)),
    "interrupt": (World.claimed, lambda w, c: w.relay.work.interrupt(c, Partial(text="half"), why="x")),
    "reap": (World.claimed, lambda w, c: w.relay.work.reap(c.job.id, c.token, why="x")),
    "cancel, waiting": (lambda w: w.relay.submit(a_submission("r")), lambda w, _: w.relay.cancel(R)),
    "cancel, running": (World.claimed, lambda w, _: w.relay.cancel(R)),
    "expire": (_late, lambda w, _: w.relay.upkeep.expire()),
    "retry": (World.finished, lambda w, _: w.relay.retry(R)),
    "retry, held": (_held, lambda w, _: w.relay.retry(R)),
    "keep a file": (World.claimed, lambda w, c: w.relay.attachments.keep(c, _PDF, b"%PDF-", ms=1)),
    "ack": (_delivered, lambda w, token: w.relay.acks.ack(token)),
    "remind": (_forgotten, lambda w, _: w.relay.acks.remind()),
    "deliver": (_due, lambda w, _: w.relay.post.claim("w", limit=1, at_once=1)),
    "delivered": (World.to_send, lambda w, one: w.relay.post.settle(one, Reply(status=200))),
    "not delivered": (World.to_send, lambda w, one: w.relay.post.settle(one, Reply(status=500))),
    "delivery reaped": (World.to_send, lambda w, one: w.relay.post.release(one)),
    "redeliver": (
        lambda w: w.relay.post.settle(w.to_send(), Reply(status=410)),
        lambda w, _: w.relay.redeliver(R),
    ),
    "gather": (
        lambda w: w.relay.submit(a_submission("r", mode="batch")),
        lambda w, _: w.relay.batches.plan("w"),
    ),
    "batch in hand": (
        lambda w: (w.relay.submit(a_submission("r", mode="batch")), w.relay.batches.plan("w")),
        lambda w, _: w.relay.batches.take("w"),
    ),
    "batch split": (_planned, lambda w, b: w.relay.batches.split(b, [[name] for name in _names(w, b)])),
    "batch about to be sent": (_planned, lambda w, b: w.relay.batches.sending(b, _names(w, b))),
    "batch created": (
        _sent,
        lambda w, b: w.relay.batches.created(
            b, BatchSeen(id="msgbatch_1", ended=False, count=2, created_at=w.clock())
        ),
    ),
    "batch refused, halved": (_sent, lambda w, b: w.relay.batches.refused(b, a_failure(remedy=Remedy.FAIL))),
    "batch refused, throttled": (_sent, lambda w, b: w.relay.batches.refused(b, a_failure(remedy=Remedy.WAIT))),
    "batch refused, parked": (_sent, lambda w, b: w.relay.batches.refused(b, a_failure(remedy=Remedy.PARK))),
    "batch not made": (_sent, lambda w, b: w.relay.batches.never_made(b)),
    "batch forgotten": (_created, lambda w, b: w.relay.batches.forgotten(b, a_failure())),
    "batch result": (_result, lambda w, one: w.relay.batches.settle(one, a_completion())),
    "batch result, failed": (_result, lambda w, one: w.relay.batches.settle(one, a_failure())),
    "batch result, late": (_late_result, lambda w, one: w.relay.batches.settle(one, a_completion())),
    "cancel, in a batch": (_created, lambda w, _: w.relay.cancel(R)),
    "expire, in a batch": (_late_in_batch, lambda w, _: w.relay.upkeep.expire()),
    "promote": (_too_slow, lambda w, _: w.relay.batches.promote()),
    "pause": (lambda w: None, lambda w, _: w.relay.pause("g")),
    "resume": (lambda w: w.relay.pause(), lambda w, _: w.relay.resume()),
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[[], World]]:
    made: list[World] = []

    def make() -> World:
        made.append(World(tmp_path / f"{len(made)}" / "relay.db"))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.mark.faults
@pytest.mark.parametrize("name", CASES)
def test_a_use_case_happens_whole_or_not_at_all(world: Callable[[], World], name: str) -> None:
    prepare, act = CASES[name]
    at = 0
    while True:
        at += 1
        here = world()
        told = prepare(here)
        before = here.dump()
        here.failing.arm(at)
        try:
            act(here, told)
        except StoreUnavailable:
            here.failing.arm(0)
            legal(here.path)
            assert here.dump() == before, f"statement {at} left something behind"
            act(here, told)  # nothing stands in the way of doing it again
            legal(here.path)
            continue
        here.failing.arm(0)
        legal(here.path)
        break

    assert at > 2, "the walk met no statement"
