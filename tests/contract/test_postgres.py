"""The PostgreSQL store: its lock, its errors, its schema."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from claude_relay.api.health import Ready
from claude_relay.core.jobs import transitions
from claude_relay.core.jobs.fairness import Flow
from claude_relay.core.keys import Scope
from claude_relay.core.policy import Policy
from claude_relay.core.retention import PurgeCutoffs
from claude_relay.errors import LeaseLost, StoreRefused, StoreUnavailable
from claude_relay.notify.postgres_notify import PostgresNotifier
from claude_relay.ports import JobFilter
from claude_relay.services import JobRef, Relay
from claude_relay.storage import migrate
from claude_relay.storage.postgres import PostgresStore, completion_reads, schema, session
from claude_relay.storage.postgres.dialect import translate
from claude_relay.storage.postgres.schema import LOCK
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.cutting import CuttingWire
from tests.support.eventually import eventually
from tests.support.postgres import Cluster
from tests.support.together import together


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.place() as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url, where="the test's")
    yield store
    store.close()


@pytest.fixture
def relay(store: PostgresStore) -> Relay:
    return Relay(store, QuietNotifier(), Policy())


def memos(store: PostgresStore, *keys: str) -> list[Any]:
    return [store.read(lambda tx, key=key: tx.shared_value(key)) for key in keys]


def writer(store: PostgresStore) -> int:
    """The process id of the server's backend that this store writes through."""
    return store._session.connection.info.backend_pid


@pytest.fixture
def read_only(postgres: Cluster, url: str) -> Iterator[str]:
    """A store whose database was set to read only afterwards, as a host does when its disk is nearly full."""
    name = url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    yield url
    postgres.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_a_store_set_to_read_only_is_opened_by_readers_alone(read_only: str) -> None:
    """A daemon must not start to accept what is not kept; queries are answered."""
    with pytest.raises(StoreUnavailable, match="accepts no writes now: it is a standby, or was set to read only"):
        PostgresStore(read_only, where="the test's")
    reader = PostgresStore(read_only, where="the test's", create=False)
    workers = reader.read(lambda tx: tx.workers())
    reader.close()

    assert workers == []


def test_a_store_that_becomes_read_only_accepts_nothing_and_is_unready(
    store: PostgresStore, relay: Relay, read_only: str
) -> None:
    """Also a process that has it open, from its next connection on."""
    store._session.connection.close()
    with contextlib.suppress(StoreUnavailable):
        relay.maintenance.ping_writer()  # opens a new connection
    with pytest.raises(StoreUnavailable, match="accepts no writes now"):
        relay.submit(a_submission("a"))

    assert store.read(lambda tx: tx.jobs(JobFilter(limit=1))) == []
    [problem] = [each for each in Ready(relay, lambda: None)._problems() if each.field == "store"]
    assert "cannot be written: the store the test's accepts no writes now" in problem.problem


def test_a_locked_store_is_reported_within_seconds_on_every_thread(store: PostgresStore, url: str) -> None:
    """Writes succeed again once the lock is released."""
    other = psycopg.connect(url)
    other.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
    began, spent = time.monotonic(), []

    def write() -> None:
        with pytest.raises(StoreUnavailable, match="locked"):
            store.write(lambda tx: tx.set_shared_value("a", 1))
        spent.append(time.monotonic() - began)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()

    assert len(spent) == 8 and max(spent) < 8 * 2.5  # as long as one after the other
    store.write(lambda tx: tx.set_shared_value("a", 2))
    assert memos(store, "a") == [2]


def test_a_frozen_machine_loses_the_writer_lock(url: str) -> None:
    """Its open transaction is rolled back, and run again once it thaws; the others only wait."""
    frozen, thaw = threading.Event(), threading.Event()
    first = PostgresStore(url, where="the test's")
    second = PostgresStore(url, where="the test's")

    def freeze(tx: Any) -> int:
        tx.set_shared_value("first", 1)
        tx.shared_value("first")  # a look-up that was not announced: the write is on the server
        if not frozen.is_set():
            frozen.set()
            thaw.wait(60)
        return 7

    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(first.write(freeze)))
    thread.start()
    assert frozen.wait(60)
    second.write(lambda tx: tx.set_shared_value("second", 1))  # as soon as the first is out
    assert memos(second, "first", "second") == [None, 1]
    thaw.set()
    thread.join(60)

    assert answers == [7] and memos(second, "first", "second") == [1, 1]
    first.close()
    second.close()


def test_a_slow_process_is_ended_once_and_gets_more_time(store: PostgresStore) -> None:
    """A function that computes for longer than a frozen machine may be silent is run again, and stored."""
    runs = []

    def slow(tx: Any) -> None:
        tx.shared_value("a")
        runs.append(1)
        time.sleep(2.5)  # as computing would: nothing is sent meanwhile
        tx.set_shared_value("a", len(runs))

    store.write(slow)

    assert memos(store, "a") == [2]


def test_a_connection_that_ends_during_a_transaction_is_replaced(store: PostgresStore, postgres: Cluster) -> None:
    """Callers do not notice."""
    ended = []

    def work(tx: Any) -> str:
        tx.set_shared_value("before", 1)
        if not ended:
            ended.append(writer(store))
            postgres.run("SELECT pg_terminate_backend(%s)", ended[0])
        tx.set_shared_value("after", 1)
        return "done"

    assert store.write(work) == "done"
    assert memos(store, "before", "after") == [1, 1]
    assert writer(store) != ended[0]


@pytest.mark.parametrize("lost", ["answer", "request"])
def test_a_commit_whose_connection_is_cut_is_applied_once(lost: str, url: str, postgres: Cluster) -> None:
    """Whether the server received it or not: the result is looked up, and a stored write is not repeated."""
    with CuttingWire(postgres.port) as wire:
        store = PostgresStore(url.replace(f":{postgres.port}/", f":{wire.port}/"), where="the test's")
        store.write(lambda tx: tx.set_shared_value("count", 0))
        runs = []

        def work(tx: Any) -> int:
            runs.append(1)
            count = int(tx.shared_value("count")) + 1
            tx.set_shared_value("count", count)
            return count

        wire.lose(lost)
        answer = store.write(work)
        store.close()

    assert wire.cut.is_set()
    assert answer == 1 and len(runs) == (1 if lost == "answer" else 2)
    assert postgres.run("SELECT value FROM memos WHERE key = 'count'", url=url) == [("1",)]


def test_a_commit_lost_in_a_crash_is_not_mistaken_for_another_with_its_number() -> None:
    """After a crash the server reuses transaction ids that were not written to disk."""
    with Cluster(durable=True) as cluster:
        url = cluster.start().database()
        store = PostgresStore(url, where="the test's")
        runs = []

        def work(tx: Any) -> None:
            tx.set_shared_value("a", 1)
            runs.append(1)
            if len(runs) == 1:
                cluster.restart("immediate")
                with psycopg.connect(url, autocommit=True) as others:
                    for _ in range(100):
                        others.execute("SELECT pg_current_xact_id()")

        store.write(work)
        assert memos(store, "a") == [1] and len(runs) == 2
        store.close()


def test_a_commit_with_an_unknown_result_is_not_reported_as_stored(
    url: str, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no 202; the same requestId again is the same job, or a new one if nothing was stored."""
    monkeypatch.setattr(session, "_RESOLVE_TIMEOUT", 0.5)
    with CuttingWire(postgres.port) as wire:
        store = PostgresStore(url.replace(f":{postgres.port}/", f":{wire.port}/"), where="the test's")
        relay = Relay(store, QuietNotifier(), Policy())
        wire.lose("answer", then_refuse=True)
        with pytest.raises(StoreUnavailable, match="same requestId again"):
            relay.submit(a_submission("r"))
        with pytest.raises(StoreUnavailable, match="out of reach"):
            relay.submit(a_submission("other"))
        wire.refuses = False
        again = relay.submit(a_submission("r"))
        relay.close()

    assert again.duplicate


def test_a_transaction_that_only_reads_writes_no_commit_row(store: PostgresStore, url: str, postgres: Cluster) -> None:
    """Workers poll all the time: a poll without work writes no row and waits for no disk."""
    store.write(lambda tx: tx.set_shared_value("a", 1))
    count = "SELECT turn FROM commits"
    before = postgres.run(count, url=url)
    for _ in range(5):
        store.write(lambda tx: (tx.waiting_flows(), tx.due({Flow("a", "", "g", "f"): 1}), tx.due_destinations()))

    assert postgres.run(count, url=url) == before != []
    store.close()
    assert postgres.run(count, url=url) == []  # and a process that ends leaves none either


def test_a_silent_rollback_of_the_server_is_an_error(store: PostgresStore) -> None:
    """After a suppressed error the server would turn the commit into a rollback."""

    def hides(tx: Any) -> None:
        tx.set_shared_value("a", 1)
        with contextlib.suppress(psycopg.Error):
            tx._run("SELECT nothing FROM nowhere", ())

    with pytest.raises(StoreUnavailable):
        store.write(hides)
    assert memos(store, "a") == [None]


def test_a_server_that_restarts_is_used_again_at_once(url: str) -> None:
    """Reads and writes fail while it is down; none hangs, and the relay needs no restart."""
    with Cluster() as cluster:
        store = PostgresStore(cluster.start().database(), where="the test's")
        store.write(lambda tx: tx.set_shared_value("a", 1))
        assert memos(store, "a") == [1]
        cluster.restart("immediate")
        store.write(lambda tx: tx.set_shared_value("b", 1))
        assert memos(store, "a", "b") == [1, 1]
        cluster.restart()
        assert memos(store, "a", "b") == [1, 1]
        cluster.stop()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="out of reach"):
            store.write(lambda tx: tx.set_shared_value("c", 1))
        with pytest.raises(StoreUnavailable, match="out of reach"):
            memos(store, "a")
        assert time.monotonic() - began < 60
        cluster.start()
        store.write(lambda tx: tx.set_shared_value("d", 1))
        assert memos(store, "c", "d") == [None, 1]
        store.close()


@pytest.mark.parametrize(
    "change, message, fix",
    [
        ("user=nobody_known", "nobody_known", "RELAY_STORE"),
        ("password=wrong-s3cret", "password authentication failed", "RELAY_STORE"),
        ("dbname=not_there", "not_there", "createdb"),
    ],
)
def test_a_refused_login_is_a_lasting_fault_with_its_fix(change: str, message: str, fix: str, url: str) -> None:
    """In one line, without the password."""
    with pytest.raises(StoreRefused, match="refuses the connection") as refused:
        PostgresStore(f"{url}?{change}", where="the test's")

    assert message in str(refused.value) and fix in str(refused.value)
    assert "wrong-s3cret" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_server_that_is_away_or_full_is_waited_for(database: str, postgres: Cluster) -> None:
    """With the fix where there is one to make."""
    with pytest.raises(StoreUnavailable, match=r"out of reach.*refused"):
        PostgresStore(f"{database}?port=1", where="the test's")
    postgres.run("CREATE ROLE one_of_many LOGIN PASSWORD 'm' CONNECTION LIMIT 0")
    crowded = database.replace(f"postgres:{postgres.password}@", "one_of_many:m@")
    with pytest.raises(StoreUnavailable, match=r"no connection left .*max_connections"):
        PostgresStore(crowded, where="the test's")


def test_only_daemons_create_tables_in_an_empty_database(database: str) -> None:
    with pytest.raises(StoreUnavailable, match="there is no store at the test's yet"):
        PostgresStore(database, where="the test's", create=False)
    PostgresStore(database, where="the test's").close()
    PostgresStore(database, where="the test's", create=False).close()


def test_an_unusable_database_is_refused_with_the_reason(database: str, postgres: Cluster) -> None:
    """A newer version's store, a user without rights, a database with another encoding."""
    PostgresStore(database, where="the test's").close()
    postgres.run("UPDATE meta SET value = '999' WHERE key = 'schema'", url=database)
    with pytest.raises(StoreRefused, match="newer version"):
        PostgresStore(database, where="the test's")

    postgres.run("CREATE ROLE guest LOGIN PASSWORD 'g'")
    other = postgres.database()
    guest = other.replace(f"postgres:{postgres.password}@", "guest:g@")
    with pytest.raises(StoreRefused, match="GRANT CREATE"):
        PostgresStore(guest, where="the test's")
    postgres.drop(other)

    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(StoreRefused, match="ENCODING 'UTF8'"):
        PostgresStore(postgres.url("latin"), where="the test's")


def test_eight_openers_at_once_make_one_store(database: str, postgres: Cluster) -> None:
    stores: list[PostgresStore] = []
    threads = [
        threading.Thread(target=lambda: stores.append(PostgresStore(database, where="the test's"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number, store in enumerate(stores):
        store.write(lambda tx, number=number: tx.set_shared_value(f"k{number}", 1))

    assert len(stores) == 8 and memos(stores[0], *(f"k{n}" for n in range(8))) == [1] * 8
    assert len(postgres.run("SELECT value FROM meta WHERE key = 'identity'", url=database)) == 1
    for store in stores:
        store.close()


def test_tables_that_another_opener_made_meanwhile_are_seen(database: str) -> None:
    """The server may have cached that there were none: the second opener would create them again, and fail."""
    with psycopg.connect(database, autocommit=True) as second, psycopg.connect(database, autocommit=True) as first:
        schema._check_rights(second, "the test's")
        with second.transaction():
            second.execute("SELECT 1")
            first.execute("CREATE TABLE meta (key text, value text); INSERT INTO meta VALUES ('schema', '7')")

            assert schema._schema_in_transaction(second) == 7


def test_both_engines_have_the_same_tables(url: str, postgres: Cluster, tmp_path: Any) -> None:
    """The same tables, columns, keys and indexes."""
    file = SqliteStore(tmp_path / "relay.db")
    run = file._writing.execute
    # The entries of the search index are in tables that SQLite makes of one statement.
    tables = [
        name
        for (name,) in run("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if not name.startswith(("sqlite_", "search_docs"))
    ]
    kinds = {"TEXT": "text", "INTEGER": "integer", "REAL": "double precision", "BLOB": "bytea"}
    here = {
        (table, name, kinds[kind], bool(needed or key))
        for table in tables
        for _, name, kind, needed, _, key in run(f"PRAGMA table_info({table})")
    }
    keys = {
        (table, tuple(row[1] for row in sorted(run(f"PRAGMA table_info({table})"), key=lambda row: row[5]) if row[5]))
        for table in tables
    }
    indexes = {name for (name,) in run("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")}
    file.close()
    columns = """SELECT table_name, column_name, replace(data_type, 'bigint', 'integer'), is_nullable = 'NO'
                 FROM information_schema.columns WHERE table_schema = 'public'"""
    primary = """SELECT t.relname, array_agg(a.attname::text ORDER BY array_position(i.indkey, a.attnum))
                 FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
                 JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
                 WHERE i.indisprimary AND n.nspname = 'public' GROUP BY t.relname"""
    named = """SELECT indexname FROM pg_indexes WHERE schemaname = 'public'
               AND indexname NOT LIKE '%%_pkey' AND indexname NOT LIKE '%%_key'"""

    # What its own commits are found by: a file needs none. Its numbers are read as a whole, without a key. Deliveries
    # have no index of their ids, to which SQLite's foreign keys refer.
    assert {tuple(row) for row in postgres.run(columns, url=url) if row[0] not in ("commits", "search_docs")} == here
    assert {(name, tuple(key)) for name, key in postgres.run(primary, url=url) if name != "commits"} == keys - {
        ("tallies", ("seq",)),
        ("deliveries", ("id",)),
    } | {("deliveries", ("job_id", "run"))}
    # SQLite's key of events serves for their jobs; here it would be a twentieth of the write-ahead log.
    assert {name for (name,) in postgres.run(named.replace("%%", "%"), url=url)} == indexes | {
        "events_job",
        "search_docs_rowid",
        "search_docs_marks",
    }


def test_strings_sort_byte_by_byte(url: str, postgres: Cluster) -> None:
    """Whatever the locale of the database: the order of ids depends on it."""
    other = """SELECT table_name, column_name FROM information_schema.columns
               WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"""

    assert postgres.run(other, url=url) == []


def test_a_fresh_schema_is_every_migration_applied() -> None:
    steps = migrate.steps("postgres")

    assert [step.number for step in steps] == list(range(1, len(steps) + 1))


def test_every_hot_query_can_use_an_index(store: PostgresStore) -> None:
    """A million finished jobs must not slow a claim."""
    message: list[str] = []

    def explain(tx: Any) -> None:
        run = tx._run
        run("SET LOCAL enable_seqscan = off", ())

        def spy(sql: str, args: Any) -> Any:
            message.extend(f"{sql}: {row[0]}" for row in run("EXPLAIN " + sql, args))
            return run(sql, args)

        tx._run = spy
        tx.find("x", "admin")
        tx.waiting_flows()
        tx.due({Flow("a", "", "g", "f"): 1, Flow("b", "", "g", "f"): 1})
        tx.flows_of("a/")
        tx.past_deadline(limit=1, asked_only_in=("a", "b"))
        tx.batch_candidates(limit=1, auto=True)
        tx.oldest_waiting()
        tx.running()
        tx.running_by_flow()
        tx.cancel_requested("w")
        tx.due_destinations()
        tx.dead_deliveries(since=0.0)
        tx.due_deliveries("https://x", limit=1)
        tx.sending_deliveries()
        tx.unacked()
        tx.delivery("x")
        tx.events("x")
        tx.delivery_attempts("x")
        cutoffs = PurgeCutoffs(done_before=1e12, failed_before=0.0)
        tx.purgeable(cutoffs, after=(-1.0, ""), limit=1)
        tx.purge(["x"], cutoffs, size=1)
        tx.jobs(JobFilter(limit=1, group="g"))

    store.write(explain)
    large = ("jobs", "deliveries", "events", "posts", "calls", "requests", "outcomes")

    assert message and not [item for item in message for table in large if f"Seq Scan on {table}" in item]


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ("SELECT 1 WHERE a = ? AND b = '?'", "SELECT 1 WHERE a = %s AND b = '?'"),
        ("SELECT '%://' || ? || ':%'", "SELECT '%%://' || %s || ':%%'"),
        ("a LIKE ? ESCAPE '\\'", "a ILIKE %s ESCAPE '\\'"),
        ("SELECT request -> 'options' FROM r", "SELECT CAST(request AS json) -> 'options' FROM r"),
        ("SELECT 'it''s ?' , ? % 2", "SELECT 'it''s ?' , %s %% 2"),
    ],
)
def test_shared_sql_is_translated_for_postgres(ours: str, theirs: str) -> None:
    assert translate(ours) == theirs


def test_headers_are_encrypted_with_a_key_that_all_machines_share(relay: Relay, url: str, postgres: Cluster) -> None:
    relay.submit(a_submission("r", webhook_headers={"x-key": "s3cret-of-theirs"}))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    kept = postgres.run("SELECT webhook_headers FROM requests", url=url)
    elsewhere = PostgresStore(url, where="the test's")
    webhook_target = elsewhere.read(lambda tx: tx.webhook_target(claimed.job.id))
    elsewhere.close()

    assert "s3cret" not in str(kept) and kept[0][0]
    assert webhook_target is not None and webhook_target.headers == {"x-key": "s3cret-of-theirs"}


def test_times_are_those_of_the_server(store: PostgresStore, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a wrong clock writes no wrong time."""
    monkeypatch.setattr(time, "time", Clock(5.0))
    relay.submit(a_submission("r"))
    monkeypatch.undo()
    [job] = store.read(lambda tx: tx.find("r", None))

    assert abs(job.created_at - time.time()) < 60


def test_notifications_reach_every_listener_and_resume_after_a_restart(store: PostgresStore, postgres: Cluster) -> None:
    """Also after the server has disconnected the listeners; notifications meanwhile are lost, and nothing hangs."""
    here, there = PostgresNotifier(store.connect), PostgresNotifier(store.connect)
    woken = threading.Event()
    there.listen(woken.set)
    assert woken.wait(60)  # once it listens: something may have come before

    def heard(*ids: str) -> bool:
        here.put(ids)
        here.notify()
        came: set[str] = set()  # many come in several notices
        return eventually(lambda: came.update(there.take(1000)) or set(ids) <= came)

    assert heard("a", "b")
    assert heard(*(f"{number:026d}" for number in range(600)))
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                 " AND backend_type = 'client backend'")  # fmt: skip
    woken.clear()
    assert woken.wait(60)
    assert heard("c")
    here.close()
    there.close()


def test_commits_are_durable_whatever_the_servers_and_a_poolers_settings_are(url: str) -> None:
    """A pooler in transaction mode hands out other connections; the lock cannot be held forever there either."""
    store = PostgresStore(url, where="the test's")
    names = ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout")
    for name, other in zip(names, ("off", "0", "0"), strict=True):
        store._session.connection.execute(f"SET {name} = {other}")
    inside = store.write(lambda tx: [tx._run(f"SELECT current_setting('{name}')", ())[0][0] for name in names])
    store.close()

    assert inside == ["on", "2500ms", "1500ms"]


def test_a_call_whose_lease_was_lost_is_not_sent_although_its_mark_goes_out_with_the_commit(relay: Relay) -> None:
    """The server itself ends a transaction whose UPDATE misses its row, as COMMIT is in the same message."""
    relay.submit(a_submission("r"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.release(claimed)

    with pytest.raises(LeaseLost):
        relay.execution.sending(claimed)


def test_a_version_that_moved_in_the_same_commit_is_a_conflict_of_one(store: PostgresStore, relay: Relay) -> None:
    """The writes of the others are stored."""
    relay.submit(a_submission("r"))
    job = store.read(lambda tx: tx.find("r", None)[0])
    change = transitions.cancel(job, now=1.0)
    works = [lambda: store.write(lambda tx: tx.save(change))] * 2
    answers = together(store, *works, lambda: store.write(lambda tx: tx.set_shared_value("a", 1)))

    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "NoneType", "NoneType"]
    assert memos(store, "a") == [1]


def test_a_duplicate_of_a_job_from_another_machine_is_detected(url: str) -> None:
    """Two machines: one accepts it, the other answers."""
    first, second = (Relay(PostgresStore(url, where="the test's"), QuietNotifier(), Policy()) for _ in range(2))
    first.submit(a_submission("r"))
    [claimed] = second.execution.claim("w2", limit=1)
    second.execution.complete(claimed, a_completion())

    assert first.queries.status(JobRef(request_id="r"))["status"] == "completed"
    first.close()
    second.close()


def test_a_shell_completes_from_a_server_and_offers_nothing_where_it_is_away(
    store: PostgresStore, relay: Relay, url: str
) -> None:
    """CASES M12: by prefix or the newest first, groups with jobs or settings, and keys that are not revoked."""
    for name in ("invoice-1", "invoice-2", "other"):
        relay.submit(a_submission(name, group="night"))
    for name in ("make", "n8n"):
        relay.keys.add(name, frozenset({Scope.SUBMIT}))
    relay.keys.revoke("n8n")

    assert sorted(completion_reads.request_ids(url, "inv", 10)) == [("invoice-1", "queued"), ("invoice-2", "queued")]
    assert completion_reads.request_ids(url, "", 1) == [("other", "queued")]
    assert completion_reads.groups(url) == ["night"]
    assert completion_reads.key_names(url) == ["make"]

    away = "postgresql://postgres@127.0.0.1:1/none"
    assert [completion_reads.groups(away), completion_reads.key_names(away)] == [[], []]
    assert completion_reads.request_ids(away, "", 1) == []
