"""A SQLite store for one command that only reads."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import apsw
import pytest

from claude_relay.core.policy import Policy
from claude_relay.errors import NotFound, StoreRefused
from claude_relay.ports import NoNotifier
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.reader import open_reader
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_submission


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one job, `r-1`."""
    path = tmp_path / "store" / "relay.db"
    store = SqliteStore(path)
    Relay(store, QuietNotifier(), Policy()).submit(a_submission(request_id="r-1"))
    store.close()

    return path


def test_it_reads_what_is_stored_without_a_thread_and_leaves_the_folder_as_it_was(path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    threads = set(threading.enumerate())
    reader = open_reader(path)
    assert reader is not None
    relay = Relay(reader, NoNotifier(), Policy())

    assert relay.queries.status(JobRef(request_id="r-1"))["status"] == "pending"
    assert set(threading.enumerate()) <= threads  # those of earlier tests may have ended
    with pytest.raises(StoreRefused, match="open for reading only"):
        relay.cancel(JobRef(request_id="r-1"))
    reader.close()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_it_reads_beside_a_process_that_writes(path: Path) -> None:
    store = SqliteStore(path)
    Relay(store, QuietNotifier(), Policy()).submit(a_submission(request_id="r-2"))  # in the log alone
    reader = open_reader(path)
    assert reader is not None

    assert Relay(reader, NoNotifier(), Policy()).queries.status(JobRef(request_id="r-2"))["requestId"] == "r-2"
    reader.close()
    store.close()


def test_a_query_may_begin_another_one(path: Path) -> None:
    """As the reason for a wait does, which asks for the list of models."""
    reader = open_reader(path)
    assert reader is not None
    with pytest.raises(NotFound):
        reader.read(lambda tx: Relay(reader, NoNotifier(), Policy()).queries.status(JobRef(request_id="none")))

    assert (
        reader.read(lambda tx: reader.read(lambda inner: len(inner.find("r-1", None)) + len(tx.find("r-1", None)))) == 2
    )
    reader.close()


def _removed(path: Path) -> None:
    path.unlink()


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _overwritten(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _exchanged(path: Path) -> None:
    path.with_name("relay.db.id").write_text("another\n")


def _without_identity(path: Path) -> None:
    path.with_name("relay.db.id").unlink()


def _of_another_version(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()


def _left_with_commits_in_its_log(path: Path) -> None:
    store = SqliteStore(path)
    Relay(store, QuietNotifier(), Policy()).submit(a_submission(request_id="r-3"))
    copies = [(file, file.with_name(f"kept-{file.name}")) for file in (path, path.with_name("relay.db-wal"))]
    for file, copy in copies:
        shutil.copy(file, copy)
    store.close()
    for file, copy in copies:
        copy.rename(file)


@pytest.mark.parametrize(
    "change",
    [
        _removed,
        _emptied,
        _overwritten,
        _exchanged,
        _without_identity,
        _of_another_version,
        _left_with_commits_in_its_log,
    ],
)
def test_a_store_that_is_not_in_order_is_left_to_the_complete_opening(path: Path, change: object) -> None:
    """It checks the log, migrates, or explains what is wrong; the reader changes nothing of the evidence."""
    assert callable(change)
    change(path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    assert open_reader(path) is None
    after = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert {name: after[name] for name in before} == before
