"""The SQLite store and the disk queue beside it. The contract of every engine is in `test_every_engine`."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.jobs.fairness import Flow
from claude_relay.core.policy import Policy
from claude_relay.core.retention import PurgeCutoffs
from claude_relay.errors import Conflict, NotFound, StoreRefused, StoreUnavailable
from claude_relay.ports import JobFilter, Transaction
from claude_relay.services import JobRef, Relay
from claude_relay.storage import migrate
from claude_relay.storage.sqlite import integrity
from claude_relay.storage.sqlite.connection import BUSY_TIMEOUT
from claude_relay.storage.sqlite.restore import restore
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.together import together, wait_until_idle

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[SqliteStore]:
    store = SqliteStore(path, clock=clock)
    yield store
    store.close()


@pytest.fixture
def relay(store: SqliteStore) -> Relay:
    return Relay(store, QuietNotifier(), Policy())


def test_many_writes_share_a_commit(path: Path) -> None:
    """Counted by the kernel: far fewer fsyncs than 202s."""
    code = f"""
import threading, sys
sys.path.insert(0, {str(ROOT)!r})
from claude_relay.storage.sqlite.store import SqliteStore
from pathlib import Path
store = SqliteStore(Path({str(path)!r}))
def go(n):
    for i in range(25):
        store.write(lambda tx: tx.set_shared_value(f"k{{n}}-{{i}}", 1))
threads = [threading.Thread(target=go, args=(n,)) for n in range(16)]
print("GO", flush=True); sys.stdin.readline()
[t.start() for t in threads]; [t.join() for t in threads]
store.close()
"""
    from tests.support.needs import needs

    strace = needs("strace")
    trace = path.parent.parent / "trace"
    command = [strace, "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace), sys.executable, "-c", code]
    subprocess.run(command, input="\n", text=True, check=True, timeout=200, capture_output=True)
    syncs = trace.read_text().count("sync(")

    assert syncs < 200  # for 400 writes; one at a time would be 400 and more


def test_new_jobs_alone_are_one_statement(store: SqliteStore, relay: Relay) -> None:
    """The cost of a 202: for each other statement the writer's thread would wait for the interpreter lock again."""
    relay.submit(a_submission())  # the clock is minded, the queue counted
    wait_until_idle(store)
    output: list[str] = []
    store._writing.exec_trace = lambda cursor, sql, values: not output.append(sql.split("(")[0].strip())
    relay.submit_many([replace(a_submission(), request_id=None) for _ in range(30)])
    wait_until_idle(store)
    store._writing.exec_trace = None

    assert output == ["INSERT INTO new_jobs"]
    assert len(relay.queries.jobs(JobFilter()).jobs) == 31


def test_a_bulk_of_many_statements_is_atomic(store: SqliteStore, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks:
        """A connection that fails at its third INSERT."""

        inserts = 0

        def execute(self, sql, *args, **options):
            if sql.startswith("INSERT INTO new_jobs"):
                self.inserts += 1
                if self.inserts == 3:
                    raise apsw.IOError("the disk is gone")
            return real.execute(sql, *args, **options)

        def __getattr__(self, name):
            return getattr(real, name)

    real = store._writing
    monkeypatch.setattr(store._session, "_connection", Breaks())
    many = [replace(a_submission(), request_id=None) for _ in range(450)]
    with pytest.raises(StoreUnavailable):
        relay.submit_many(many)
    assert relay.queries.jobs(JobFilter()).jobs == []

    relay.submit_many(many)
    assert store.read(lambda tx: tx.waiting()) == 450


def test_new_jobs_with_duplicate_ids_fail_alone(
    store: SqliteStore, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failing function is found although all shared a statement."""
    first = relay.submit(a_submission("first")).job
    ids = iter([first.id, "01J00000000000000000000001"] * 2)
    monkeypatch.setattr(relay._context.id_factory, "new", lambda now: next(ids))
    new = replace(a_submission(), request_id=None)
    clashed, other = together(store, lambda: relay.submit(new), lambda: relay.submit(new))

    assert isinstance(clashed, apsw.ConstraintError)
    assert other.job.id == "01J00000000000000000000001"
    assert store.read(lambda tx: tx.job(first.id)).request_id == "first"


def test_a_write_that_fails_before_its_first_statement_fails_alone(store: SqliteStore) -> None:
    def refuse(tx: Transaction) -> None:
        raise NotFound("before anything was asked")

    refused, kept = together(store, lambda: store.write(refuse), lambda: store.write(lambda tx: tx.now))

    assert isinstance(refused, NotFound)
    assert isinstance(kept, float)


def test_new_jobs_wait_for_another_process_that_writes(store: SqliteStore, relay: Relay, path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    submitting = threading.Thread(target=relay.submit_many, args=([replace(a_submission(), request_id=None)],))
    submitting.start()
    submitting.join(0.3)
    waited = submitting.is_alive()
    other.execute("COMMIT")
    submitting.join(60)
    other.close()

    assert waited
    assert len(relay.queries.jobs(JobFilter()).jobs) == 1


@pytest.mark.parametrize("metadata", [{"n": 2**70}, {"1": [0.1, 1e22, None, True, "æøå"]}])
def test_metadata_is_returned_unchanged(store: SqliteStore, relay: Relay, metadata: dict[str, Any]) -> None:
    """Also values that strict JSON does not cover."""
    job = relay.submit(a_submission(metadata=metadata)).job

    assert store.read(lambda tx: tx.request(job.id)).metadata == metadata


def test_a_long_answer_is_not_copied_by_sqlite(store: SqliteStore, relay: Relay) -> None:
    """It is written in pieces, and the partial one before it is not kept with its statement."""
    text = "svar på 1 🙂 " * 2**20
    relay.submit(a_submission("r"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    before = apsw.memory_used()
    relay.execution.checkpoint(claimed, PartialResponse(text=text))
    assert apsw.memory_used() - before < 4 * 2**20

    apsw.memory_high_water(True)
    job = relay.execution.complete(claimed, a_completion(text))
    assert apsw.memory_high_water() - before < len(text.encode())  # as an argument: more than twice
    outcome = store.read(lambda tx: tx.outcome(job.id, job.run))
    assert outcome is not None and json.loads(outcome.body)["response"] == text


def test_no_caller_waits_for_a_checkpoint_of_the_log(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers get their results before a checkpoint, which takes two fsyncs and a thousand pages."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        """A connection whose checkpoint waits for a signal."""

        def wal_checkpoint(self, **asked):
            begun.set()
            assert go_on.wait(60)
            return real.wal_checkpoint(**asked)

        def __getattr__(self, name):
            return getattr(real, name)

    real = store._writing
    monkeypatch.setattr(store._session, "_connection", Slow())
    writing = threading.Thread(target=lambda: store.write(lambda tx: tx.set_shared_value("big", "x" * 5_000_000)))
    writing.start()
    assert begun.wait(60)
    writing.join(60)
    answered, shown = not writing.is_alive(), store.read(lambda tx: tx.shared_value("big"))
    go_on.set()

    assert answered
    assert len(shown) == 5_000_000


def test_the_log_stays_short(store: SqliteStore, path: Path) -> None:
    """However much is written while there is no reader: a start after a crash reads all of it."""
    for number in range(40):
        store.write(lambda tx, number=number: tx.set_shared_value("big", f"{number}" * 500_000))

    assert path.with_name("relay.db-wal").stat().st_size < 12 * 2**20  # of 40 MB and more that went through it


def test_a_failed_checkpoint_stops_no_write(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        """A connection whose checkpoint fails."""

        def wal_checkpoint(self, **asked):
            raise apsw.BusyError("another process does it")

        def __getattr__(self, name):
            return getattr(real, name)

    real = store._writing
    monkeypatch.setattr(store._session, "_connection", Stuck())
    for number in range(3):
        store.write(lambda tx, number=number: tx.set_shared_value(f"k{number}", "x" * 5_000_000))

    assert all(store.read(lambda tx, number=number: tx.shared_value(f"k{number}")) for number in range(3))


def test_a_failing_commit_leaves_no_open_transaction(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        """A connection whose next COMMIT fails."""

        def __init__(self, real):
            self._real, self.broken = real, True

        def execute(self, sql, *args):
            if sql == "COMMIT" and self.broken:
                self.broken = False
                raise apsw.IOError("the disk is gone")
            return self._real.execute(sql, *args)

        def __getattr__(self, name):
            return getattr(self._real, name)

    monkeypatch.setattr(store._session, "_connection", Broken(store._writing))
    with pytest.raises(StoreUnavailable):
        store.write(lambda tx: tx.set_shared_value("a", 1))
    store.write(lambda tx: tx.set_shared_value("b", 1))

    assert [store.read(lambda tx, key=key: tx.shared_value(key)) for key in ("a", "b")] == [None, 1]


def test_every_query_uses_its_index(store: SqliteStore) -> None:
    """A million finished jobs must not slow a claim: no hot query scans a table."""
    output: list[str] = []

    def explain(tx):
        run = tx._run

        def spy(sql, args):
            if sql.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
                output.extend(f"{sql}: {row[3]}" for row in run("EXPLAIN QUERY PLAN " + sql, args))
            return run(sql, args)

        tx._run = spy
        job = tx.find("x", "admin"), tx.find("x", None), tx.job("x")
        tx.waiting_flows()
        tx.due({Flow("a", "", "g", "f"): 1, Flow("b", "", "g", "f"): 1})
        tx.flows_of("a/")
        tx.past_deadline(limit=1)
        tx.past_deadline(limit=1, asked_only=True)
        tx.past_deadline(limit=1, asked_only_in=("a", "b"))
        tx.deliveries("x")
        tx.running()
        tx.running_by_flow()
        tx.cancel_requested("w")
        tx.renew_leases("w", [], 1.0)
        tx.due_destinations()
        tx.dead_deliveries(since=0.0)
        tx.due_deliveries("https://x", limit=1)
        tx.due_deliveries("https://x", limit=1, newest=True)
        tx.failing_urls("https://x", limit=1)
        tx.waiting_deliveries("https://x", opened_before=0.0, limit=1)
        tx.destination("https://x")
        tx.sending_deliveries()
        tx.waiting()
        tx.waiting_by_owner()
        tx.delivery("x")
        tx.calls("x")
        tx.events("x")
        tx.delivery_attempts("x")
        cutoffs = PurgeCutoffs(done_before=1e12, failed_before=0.0)
        tx.purgeable(cutoffs, after=(-1.0, ""), limit=1)
        tx.purge(["x"], cutoffs, size=1)
        tx.jobs(JobFilter(limit=1))
        tx.jobs(JobFilter(limit=1, group="g"))
        return job

    store.write(explain)
    tables = ("jobs", "j", "deliveries", "d", "events", "e", "posts", "p", "calls", "requests")
    # The list of all is read along the primary key, newest first, as far as its LIMIT.
    complete_list = "ORDER BY j.id DESC LIMIT ?) ORDER BY j.id DESC: SCAN j"
    plans = [plan for plan in output if not plan.endswith(complete_list)]
    scans = [plan for plan in plans for table in tables if plan.endswith(f": SCAN {table}")]

    assert not scans


def test_queries_over_a_long_queue_stay_within_its_index(store: SqliteStore, relay: Relay) -> None:
    """Status, dashboard and alerts poll all the time; of a hundred thousand waiting jobs they read no row."""
    relay.submit(a_submission("live"))
    relay.submit(a_submission("batch", mode="batch"))
    output: list[str] = []

    def explain(tx):
        run = tx._run

        def spy(sql, args):
            output.extend(row[3] for row in run("EXPLAIN QUERY PLAN " + sql, args))
            return run(sql, args)

        live = tx.find("live", "admin")[0]
        tx._run = spy
        return tx.oldest_waiting(), tx.count_ahead(live, [str(live.flow)], limit=9)

    oldest, ahead = store.write(explain)

    assert (oldest, ahead) == (store.read(lambda tx: tx.find("live", "admin"))[0].due_at, 0)
    looks = [item for item in output if " jobs" in item]
    assert len(looks) > 3 and all("COVERING INDEX" in item for item in looks)


# --- what is SQLite's own


def test_files_are_accessible_to_owner_and_group_only(store: SqliteStore, path: Path) -> None:
    store.write(lambda tx: tx.set_shared_value("a", 1))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    assert {name: mode for name, mode in modes.items() if mode != 0o640} == {}
    assert {"relay.db", "relay.db-wal", "relay.db.id"} <= set(modes)


def test_durability_settings_are_in_effect(store: SqliteStore) -> None:
    assert store._writing.pragma("journal_mode") == "wal"
    assert store._writing.pragma("synchronous") == 2


@pytest.mark.parametrize(
    "version, safe",
    [("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False), ("3.50.7", True),
     ("3.51.0", False), ("3.51.2", False), ("3.51.3", True), ("3.54.1", True), ("4.0", True)],
)  # fmt: skip
def test_versions_with_the_wal_reset_bug_are_detected(version: str, safe: bool) -> None:
    assert integrity.wal_is_safe(version) is safe


def test_a_version_with_the_bug_uses_a_rollback_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    store = SqliteStore(path)

    assert store._writing.pragma("journal_mode") == "truncate"
    assert store._writing.pragma("synchronous") == 3
    store.close()


def test_a_bit_in_the_schema_that_makes_every_row_wrong_is_a_damaged_store(path: Path) -> None:
    """CASES S11: the file opens, and its rows can be read; a claim ends in words and not in an exception of SQLite."""
    relay = Relay(SqliteStore(path, clock=lambda: 1000.0), QuietNotifier(), Policy())
    relay.submit(a_submission("r"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    relay.close()
    data = path.read_bytes()
    check = b"(state = 'sending') = (lease_token"
    assert data.count(check) == 1
    path.write_bytes(data.replace(check, check.replace(b"sending", b"sendmng")))
    relay = Relay(SqliteStore(path, clock=lambda: 1010.0), QuietNotifier(), Policy())

    with pytest.raises(StoreRefused, match=re.escape("is corrupt (CHECK constraint failed")):
        relay.deliveries.claim("w", limit=1)
    assert relay.queries.status(JobRef(request_id="r"))["status"] == "completed"
    relay.close()


def test_a_schema_that_cannot_be_read_is_a_damaged_store(path: Path) -> None:
    """CASES S11: SQLite reads the text of a table when it is used."""
    Relay(SqliteStore(path), QuietNotifier(), Policy()).close()
    data = path.read_bytes()
    assert data.count(b"tokenize") == 1
    path.write_bytes(data.replace(b"tokenize", b"pokenize"))

    with pytest.raises(StoreRefused, match="is corrupt"):
        SqliteStore(path)


@pytest.mark.parametrize("fault", ["header", "truncated", "empty", "missing", "foreign", "newer", "page"])
def test_a_damaged_store_is_refused_and_left_unchanged(path: Path, fault: str) -> None:
    """Never a silent empty store in its place."""
    relay = Relay(SqliteStore(path), QuietNotifier(), Policy())
    relay.submit_many([a_submission() for _ in range(200)])
    relay.close()
    data = bytearray(path.read_bytes())
    if fault == "header":
        data[:16] = b"x" * 16
    elif fault == "truncated":
        del data[len(data) // 3 :]
    elif fault == "empty":
        data.clear()
    elif fault == "page":
        data[8192:12288] = os.urandom(4096)
    elif fault == "foreign":
        integrity.identity_path(path).write_text("another\n")
    elif fault == "newer":
        data[60:64] = (999).to_bytes(4, "big")
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(data)
    before = path.read_bytes() if path.exists() else None

    with pytest.raises(StoreRefused) as refused:
        store = SqliteStore(path)
        try:
            if output := store.check():
                raise StoreRefused(f"the store is corrupt: {output}")
        finally:
            store.close()

    assert "store" in str(refused.value)
    assert (path.read_bytes() if path.exists() else None) == before


def test_eight_openers_at_once_make_one_store(path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from claude_relay.storage.sqlite.store import SqliteStore
store = SqliteStore(Path({str(path)!r})); store.write(lambda tx: tx.set_shared_value(sys.argv[1], 1)); store.close()
"""
    openers = [subprocess.Popen([sys.executable, "-c", code, f"k{n}"], stderr=subprocess.PIPE) for n in range(8)]
    for opener in openers:
        _, output = opener.communicate(timeout=60)
        assert opener.returncode == 0, output.decode()
    store = SqliteStore(path)

    assert [store.read(lambda tx, n=n: tx.shared_value(f"k{n}")) for n in range(8)] == [1] * 8
    store.close()


@pytest.mark.parametrize("what", ["anything", "new jobs"])
def test_a_locked_store_is_reported_within_seconds_on_every_thread(
    store: SqliteStore, relay: Relay, path: Path, what: str
) -> None:
    """Writes succeed again once the lock is released."""
    relay.submit(a_submission())
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    began, spent = time.monotonic(), []

    def write():
        with pytest.raises(StoreUnavailable, match="locked"):
            if what == "anything":
                store.write(lambda tx: tx.set_shared_value("a", 1))
            else:
                relay.submit(replace(a_submission(), request_id=None))
        spent.append(time.monotonic() - began)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.execute("ROLLBACK")
    other.close()

    assert len(spent) == 8 and max(spent) < 8 * BUSY_TIMEOUT  # as long as one after the other
    store.write(lambda tx: tx.set_shared_value("a", 2))


def test_a_fresh_schema_is_every_migration_applied(path: Path) -> None:
    """And the store of a newer version is refused."""
    steps = migrate.steps("sqlite")

    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    store = SqliteStore(path)
    assert store._writing.pragma("user_version") == migrate.latest("sqlite")
    store.close()
    assert migrate.missing("sqlite", migrate.latest("sqlite"), where="x") == []
    with pytest.raises(StoreRefused, match="newer version"):
        migrate.missing("sqlite", migrate.latest("sqlite") + 1, where="x")


def test_purged_content_is_in_neither_the_file_nor_the_log(relay: Relay, path: Path, clock: Clock) -> None:
    """Prompt and answer are nowhere on the disk any more; a tombstone keeps the requestId."""
    secret = "canary-4f1c"
    again = a_submission("r-1", request={"prompt": secret * 50}, webhook_url=None)
    relay.submit(again)
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(secret * 50))
    files = list(path.parent.glob("relay.db*"))
    assert any(secret.encode() in file.read_bytes() for file in files)
    clock.advance(25 * 3600)

    assert relay.maintenance.purge() == 1
    assert not any(secret.encode() in file.read_bytes() for file in files)
    with pytest.raises(NotFound, match="purged at"):
        relay.queries.status(JobRef(request_id="r-1"))
    assert relay.submit(again).duplicate
    with pytest.raises(Conflict):
        relay.submit(a_submission("r-1", body_hash="other"))
    assert relay.execution.claim("w", limit=1) == []

    clock.advance(31 * 86400)
    relay.maintenance.purge()
    assert not relay.submit(again).duplicate


def test_a_backup_during_writes_is_consistent_and_can_be_restored(relay: Relay, path: Path, tmp_path: Path) -> None:
    """It contains everything acknowledged before it began; the old store is kept."""
    relay.submit_many([a_submission(f"r-{n}") for n in range(50)])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            relay.submit(a_submission())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        relay.backup(tmp_path / "copy.db")
    finally:
        stop.set()
        writer.join(60)
    with pytest.raises(Conflict):
        relay.backup(tmp_path / "copy.db")
    with pytest.raises(Conflict, match="in use"):
        restore(tmp_path / "copy.db", path)
    relay.close()
    path.write_bytes(b"rubbish")
    aside = restore(tmp_path / "copy.db", path)

    assert aside is not None and aside.read_bytes() == b"rubbish"
    back = Relay(SqliteStore(path), QuietNotifier(), Policy())
    assert all(back.queries.status(JobRef(request_id=f"r-{n}"))["status"] == "pending" for n in range(50))
    back.close()


@pytest.mark.parametrize("name", ["a#b.db", "what?.db", "100%41.db", "x?mode=memory&cache=shared", "café ;+.db", "%"])
def test_a_backup_of_any_name_can_be_restored(relay: Relay, path: Path, tmp_path: Path, name: str) -> None:
    """CASES S9. The name is quoted in SQLite's URI, and another file is never taken for it."""
    relay.submit(a_submission("r-1"))
    relay.backup(tmp_path / name)
    relay.close()
    path.unlink()
    restore(tmp_path / name, path)

    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [name]
    back = Relay(SqliteStore(path), QuietNotifier(), Policy())
    assert back.queries.status(JobRef(request_id="r-1"))["status"] == "pending"
    back.close()


def test_nothing_is_accepted_once_the_file_is_removed(relay: Relay, path: Path) -> None:
    """CASES A1: no 202 for a job in a file that is no longer at its path; a paid answer is kept for the rescue."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    for file in path.parent.glob("relay.db*"):
        file.unlink()

    with pytest.raises(StoreUnavailable, match="was removed while it was in use"):
        relay.submit(a_submission("r-2"))
    relay.execution.complete(claimed, a_completion())
    assert relay.queries.status(JobRef(request_id="r-1"))["status"] == "completed"


def test_an_unusable_backup_is_refused_before_anything_is_replaced(path: Path, tmp_path: Path) -> None:
    from claude_relay.errors import InvalidRequest

    SqliteStore(path).close()
    before = path.read_bytes()
    (tmp_path / "bad").write_bytes(b"SQLite format 3\x00" + b"x" * 5000)
    with pytest.raises(InvalidRequest, match="not a usable backup"):
        restore(tmp_path / "bad", path)

    assert path.read_bytes() == before


def test_the_disk_queue_executes_no_code_from_its_file(tmp_path: Path) -> None:
    """No pickle: a row that is not JSON is set aside, and the queue works."""
    import pickle
    import sqlite3

    from claude_relay.notify.disk_queue import DiskQueue

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    queue = DiskQueue(tmp_path / "ready.db")
    queue.put(["a", "b"])
    assert DiskQueue(tmp_path / "ready.db").take(1) == ["a"]
    connection = sqlite3.connect(tmp_path / "ready.db")
    connection.execute("INSERT INTO queue_ready (data, timestamp) VALUES (?, 0)", (pickle.dumps(Evil()),))
    connection.commit()
    connection.close()

    assert list(queue.take(5)) == []
    assert not (tmp_path / "pwned").exists()
    queue.put(["c"])
    assert queue.take(5) == ["c"]
    queue.close()


def test_a_disk_queue_whose_file_cannot_be_opened_costs_no_job(tmp_path: Path) -> None:
    """The 202 stands on the row that was committed: an id that cannot be queued is left to the sweep."""
    from claude_relay.notify.disk_queue import DiskQueue

    (folder := tmp_path / "folder").mkdir()
    queue = DiskQueue(folder / "ready.db")
    folder.rename(tmp_path / "away")
    queue.put(["a"])
    assert queue.take(1) == []

    (tmp_path / "away").rename(folder)
    queue.put(["b"])
    assert queue.take(1) == ["b"]


def test_a_broken_disk_queue_is_replaced(tmp_path: Path) -> None:
    from claude_relay.notify.disk_queue import DiskQueue

    (tmp_path / "ready.db").write_bytes(b"rubbish" * 1000)
    queue = DiskQueue(tmp_path / "ready.db")
    queue.put(["a"])

    assert queue.take(1) == ["a"]
    assert (tmp_path / "ready.db.broken").exists()
    queue.close()


def test_the_key_of_headers_is_put_back_where_only_its_file_is_removed(store: SqliteStore, relay: Relay) -> None:
    """A sibling of CASES A1 and A9: the daemons have it in memory, and look for it every two seconds."""
    relay.submit(a_submission("r-1", webhook_headers={"x": "1"}))
    key = store._path.with_name(store._path.name + ".key")
    content = key.read_bytes()
    assert store.lost() is None
    key.unlink()
    assert store.lost() is None

    assert key.read_bytes() == content
