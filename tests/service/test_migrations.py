"""Upgrades of a store: the next migration keeps every row, and one that fails changes nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from claude_relay.core.jobs.job import State
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreRefused
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.storage import migrate
from claude_relay.storage.migrate import Step
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_submission

_LATEST = migrate.latest("sqlite")

#: The hardest kind: SQLite changes no CHECK in place, so the table that all others point to is replaced.
_REBUILD = """
PRAGMA defer_foreign_keys = ON;
CREATE TEMP TABLE kept AS SELECT * FROM {table};
DROP TABLE {table};
{create};
INSERT INTO {table} SELECT * FROM kept;
DROP TABLE kept;
ALTER TABLE {table} ADD COLUMN added TEXT NOT NULL DEFAULT 'x';
CREATE UNIQUE INDEX jobs_request ON jobs (request_id, owner);
CREATE INDEX jobs_due ON jobs (rank, id, due_at, grp, family) WHERE state = 'queued' AND lane = 'live';
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of the present schema with a waiting job and a completed one."""
    path = tmp_path / "relay.db"
    store = SqliteStore(path)
    relay = Relay(store, QuietNotifier(), Policy())
    relay.submit(a_submission("done"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(cost_usd=0.5))
    relay.submit(a_submission("waiting"))
    store.close()

    return path


def add_migration(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    steps = [*migrate.steps("sqlite"), Step(_LATEST + 1, "next", sql)]
    monkeypatch.setattr(migrate, "steps", lambda engine: steps)


def rebuild_jobs(path: Path) -> str:
    connection = apsw.Connection(str(path))
    create = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'jobs'").get
    connection.close()

    return _REBUILD.format(table="jobs", create=create)


def test_the_next_migration_keeps_every_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that reference the rebuilt table; references are enforced again, and the jobs run."""
    add_migration(monkeypatch, rebuild_jobs(path))
    store = SqliteStore(path)
    assert store._writing.execute("SELECT DISTINCT added FROM jobs").get == "x"
    store._writing.execute("ALTER TABLE jobs DROP COLUMN added")  # this code does not write it
    relay = Relay(store, QuietNotifier(), Policy())
    try:
        assert relay.queries.result(JobRef(request_id="done"))
        details = relay.queries.job_details(JobRef(request_id="done"))
        assert (details["costUsd"], len(details["calls"]), details["events"][0]["event"]) == (0.5, 1, "submitted")
        [claimed] = relay.execution.claim("w", limit=5)
        assert claimed.job.request_id == "waiting"
        assert relay.execution.complete(claimed, a_completion()).state is State.COMPLETED
    finally:
        store.close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == _LATEST + 1
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.pragma("foreign_keys", True)
    with pytest.raises(apsw.ConstraintError):
        connection.execute("INSERT INTO requests (job_id, request) VALUES ('missing', '{}')")


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the schema nor its number: the version before goes on with the store."""
    with monkeypatch.context() as patched:
        add_migration(patched, "ALTER TABLE jobs ADD COLUMN added TEXT; INSERT INTO missing VALUES (1)")
        with pytest.raises(apsw.SQLError):
            SqliteStore(path)
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == _LATEST
    assert "added" not in [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
    connection.close()
    store = SqliteStore(path)
    assert store.check() is None
    store.close()


def test_a_version_that_is_older_than_the_store_refuses_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        add_migration(patched, "CREATE TABLE added (id TEXT PRIMARY KEY)")
        SqliteStore(path).close()

    with pytest.raises(Exception, match=f"has schema {_LATEST + 1}.*up to {_LATEST}"):
        SqliteStore(path)


def refusals(relay: Relay) -> list[str]:
    """The errors of a write of its own, of a submission and of a read."""
    uses: list[Callable[[], object]] = [
        lambda: relay.execution.claim("w", limit=1),
        lambda: relay.submit(a_submission("new")),
        lambda: relay.queries.status(JobRef(request_id="a")),
    ]
    errors = []
    for use in uses:
        with pytest.raises(StoreRefused) as refused:
            use()
        errors.append(str(refused.value))

    return errors


@contextlib.contextmanager
def other_tables(store: Store) -> Iterator[None]:
    """A column has another name meanwhile."""

    def rename(old: str, new: str) -> None:
        sql = f"ALTER TABLE jobs RENAME COLUMN {old} TO {new}"
        if isinstance(store, SqliteStore):  # by another connection: SQLite renames it in this one's trigger, too
            with contextlib.closing(apsw.Connection(str(store._path))) as other:
                other.execute(sql)
        else:
            store.write(lambda tx: tx._run(sql, ()))  # type: ignore[attr-defined]

    rename("flow", "stream")
    try:
        yield
    finally:
        rename("stream", "flow")


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize("replacement", ["same number", "newer", "removed"])
def test_code_that_was_replaced_under_a_process_is_no_corrupt_store(
    store: Store, engine: str, replacement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says to restart the process, and does not call the intact store corrupt."""
    relay = Relay(store, QuietNotifier(), Policy())
    relay.submit(a_submission("a"))
    code = tmp_path / "code"
    if replacement != "removed":
        shutil.copytree(Path(migrate.__file__).parent / engine, code / engine)
        [present] = (code / engine / "migrations").glob("*.sql")
        other = present if replacement == "same number" else present.with_name(f"{_LATEST + 1:04}_next.sql")
        other.write_text("CREATE TABLE other (id INT)")
    monkeypatch.setattr(migrate, "__file__", str(code / "migrate.py"))
    with other_tables(store):
        errors = refusals(relay)
    for error in errors:
        assert "was upgraded under this running process" in error
        assert "restart this process" in error and "corrupt" not in error
    relay.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_tables_of_another_version_are_named_as_such(store: Store, engine: str) -> None:
    """Of one with the same schema number or, in SQLite, a higher one; the code of this process is what it was."""
    relay = Relay(store, QuietNotifier(), Policy())
    relay.submit(a_submission("a"))
    with other_tables(store):
        errors = refusals(relay)
        if engine == "sqlite":
            store._session._connection.pragma("user_version", _LATEST + 1)  # type: ignore[attr-defined]
            assert all(f"has schema {_LATEST + 1}" in error for error in refusals(relay))
    for error in errors:
        assert "are not those of this version" in error and "flow" in error and "corrupt" not in error
    relay.close()
