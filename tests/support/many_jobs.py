"""Many jobs in a store, as copies of one row each: thousands a second, for tests of what grows with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.digests import digest
from claude_relay.core.jobs.failure import Remedy
from claude_relay.core.retention import PurgeCutoffs
from claude_relay.core.text.ids import _CROCKFORD, ulid_bytes
from claude_relay.ports import Store, Transaction
from claude_relay.services import Relay
from claude_relay.storage.sql import job_digest, records

from .builders import a_completion, a_failure, a_submission

_DIGITS = 10  # of a copy's number, at the end of its id
#: Copies of one statement: a server ends what takes longer than half a minute.
_STEP = 100_000
#: Copies at both ends that may be read as a whole: their digests are made anew.
_READ = 60
_SHIFTS = range(45, -1, -5)
_ID_TABLES = ("requests", "outcomes", "calls", "events", "deliveries")


def fill(relay: Relay, store: Store, *, finished: int, waiting: int) -> None:
    """
    Copies of a completed job that was delivered, of a failed one, and of one that waits.

    A twentieth of the finished ones failed; their deliveries wait for their turn or are dead.
    """
    for name in ("done", "bad"):
        relay.submit(a_submission(name, webhook_url=f"https://{name}.example/"))
    for claimed in relay.execution.claim("w", limit=2):
        relay.execution.sending(claimed)
        if claimed.job.request_id == "done":
            relay.execution.complete(claimed, a_completion("kr 100"))
        else:
            relay.execution.fail(claimed, a_failure(remedy=Remedy.FAIL))
    for sent in relay.deliveries.claim("w", limit=2):
        relay.deliveries.record_attempt(sent, Reply(status=200 if sent.request_id == "done" else 410, ms=1))
    relay.submit(a_submission("waits"))
    for name, count in (("done", finished - finished // 20), ("bad", finished // 20), ("waits", waiting)):
        for first in range(1, count, _STEP):
            last = min(first + _STEP, count) - 1
            store.write(lambda tx, name=name, first=first, last=last, count=count: _copy(tx, name, first, last, count))
        store.write(lambda tx, name=name, count=count: _finish(tx, name, count))


def purge(store: Store, before: float, *, failed_before: float | None = None, limit: int = 10_000) -> int:
    """Erase the jobs past their retention among the oldest `limit` in one transaction; returns how many."""
    cutoffs = PurgeCutoffs(done_before=before, failed_before=before if failed_before is None else failed_before)
    jobs, _ = store.read(lambda tx: tx.purgeable(cutoffs, after=(-1.0, ""), limit=limit))

    return store.write(lambda tx: tx.purge(jobs, cutoffs, size=2**40))[0]


def _copy(tx: Transaction, name: str, first: int, last: int, count: int) -> None:
    run: Any = tx._run  # type: ignore[attr-defined]
    [(job_id,)] = run("SELECT id FROM jobs WHERE request_id = ?", (name,))
    before = (int.from_bytes(ulid_bytes(job_id), "big") >> 80) - count
    numbers = f"WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
    for table in ("jobs", *_ID_TABLES):
        columns = _columns(run, table)
        key = "id" if table == "jobs" else "job_id"
        values = ", ".join(_value(table, column, name, before) for column in columns)
        run(
            f"INSERT INTO {table} ({', '.join(columns)}) {numbers} SELECT {values} FROM {table} t, n WHERE t.{key} = ?",
            (job_id,),
        )


def _finish(tx: Transaction, name: str, count: int) -> None:
    """Digests of the copies that are read, and the numbers that the store keeps."""
    run: Any = tx._run  # type: ignore[attr-defined]
    [(job_id, state, group, owner)] = run("SELECT id, state, grp, owner FROM jobs WHERE request_id = ?", (name,))
    for number in {*range(1, min(_READ, count)), *range(max(1, count - _READ), count)}:
        _seal(run, run("SELECT id FROM jobs WHERE request_id = ?", (f"{name}-{number:0{_DIGITS}}",))[0][0])
    insert = records.insert("tallies", ("kind", "state", "grp", "owner", "n"))
    run(insert, ("job", state, group, owner, count - 1))
    deliveries = run("SELECT state FROM deliveries WHERE job_id = ?", (job_id,))
    for (delivered,) in deliveries:
        run(insert, ("delivery", delivered, group, "", count - 1))


def _seal(run: Any, job_id: str) -> None:
    """Make the digests of a copy, which cover its id."""
    [job] = run(f"SELECT {records.columns(records.JOB)} FROM jobs WHERE id = ?", (job_id,))
    run("UPDATE jobs SET digest = ? WHERE id = ?", (job_digest.of(job), job_id))
    for row in run(f"SELECT {records.columns(records.DELIVERY)} FROM deliveries WHERE job_id = ?", (job_id,)):
        named = dict(zip(records.DELIVERY, row, strict=True))
        seal = digest(*(named[name] for name in records.DELIVERY_DIGEST))
        run("UPDATE deliveries SET digest = ? WHERE id = ?", (seal, named["id"]))
    for number, body in run("SELECT run, body FROM outcomes WHERE job_id = ?", (job_id,)):
        run(
            "UPDATE outcomes SET digest = ? WHERE job_id = ? AND run = ?",
            (digest(job_id, number, body), job_id, number),
        )
    [row] = run(f"SELECT {records.columns(records.REQUEST)} FROM requests WHERE job_id = ?", (job_id,))
    values = dict(zip(records.REQUEST, row, strict=True))
    seals = (digest(job_id, values["request"]), digest(*(values[name] for name in records.CALLBACK)))
    run("UPDATE requests SET request_digest = ?, digest = ? WHERE job_id = ?", (*seals, job_id))


def _columns(run: Any, table: str) -> Sequence[str]:
    if table == "jobs":
        return records.JOB
    named = {"requests": records.REQUEST, "calls": records.CALL, "deliveries": records.DELIVERY}
    others = {
        "outcomes": "job_id run at status body".split(),
        "events": "job_id subject version at name detail".split(),
    }

    return (named | others)[table]


def _time(before: int) -> str:
    """The first ten characters of the ids: a job a millisecond, up to that time."""
    digits = [f"substr('{_CROCKFORD}', CAST(({before} + n.i) >> {shift} & 31 AS INTEGER) + 1, 1)" for shift in _SHIFTS]
    return " || ".join(digits)


def _value(table: str, column: str, name: str, before: int) -> str:
    number = f"substr(CAST({10**_DIGITS} + n.i AS TEXT), 2)"
    prefix = {"done": "A", "bad": "B", "waits": "C"}[name]
    if column in ("id", "job_id"):
        return f"{_time(before)} || '{prefix}' || {number} || substr(t.{column}, {12 + _DIGITS})"
    if column == "webhook_id":
        return f"'msg_{prefix}' || {number}"
    if column == "request_id":
        return f"'{name}-' || {number}"
    if table == "events" and column == "subject":
        return f"CASE WHEN t.subject = 'job' THEN t.subject ELSE '{prefix}' || {number} END"

    return f"t.{column}"
