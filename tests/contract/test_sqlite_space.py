"""The SQLite file gives the space of erased jobs back to the disk, and is not taken for another file then."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite import connection, free_space
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission

RETENTION = 24 * 3600


@pytest.fixture
def opened(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Relay]]:
    """Opens the store, each time as another process would; few free pages stay in the file."""
    monkeypatch.setattr(free_space, "_SPARE_PAGES", 16)
    relays: list[Relay] = []

    def open_one() -> Relay:
        relays.append(Relay(SqliteStore(path, clock=clock), QuietNotifier(), Policy()))
        return relays[-1]

    yield open_one
    for relay in relays:
        relay.close()


def finish_jobs(relay: Relay, prefix: str, count: int = 12) -> None:
    """Jobs of 25 pages each that have ended."""
    jobs = [a_submission(f"{prefix}-{n}", request={"prompt": "x" * 100_000}, webhook_url=None) for n in range(count)]
    relay.submit_many(jobs)
    for claimed in relay.execution.claim("w", limit=count):
        relay.execution.complete(claimed, a_completion())


def test_a_purge_makes_the_file_smaller_and_nobody_takes_it_for_another(
    opened: Callable[[], Relay], path: Path, clock: Clock
) -> None:
    """CASES A1. Two processes purge in turn while a third accepts jobs: all see a file that shrinks."""
    first, second, third = opened(), opened(), opened()
    sizes = []
    for number, relay in enumerate((first, second, first, second)):
        finish_jobs(third, f"r{number}")
        third.maintenance.scrub()
        before = path.stat().st_size
        clock.advance(2 * RETENTION)
        assert relay.maintenance.purge() == 12
        sizes.append((before, path.stat().st_size))
        for each in (first, second, third):
            each.maintenance.set_shared("round", number)

    assert all(after < before / 2 for before, after in sizes), sizes
    assert first.queries.check(deep=True) is None


@pytest.mark.parametrize("copied", ["before it shrank", "after it shrank"])
def test_an_earlier_copy_of_the_same_file_over_it_is_noticed(
    opened: Callable[[], Relay], path: Path, clock: Clock, tmp_path: Path, copied: str
) -> None:
    """CASES A1. Its header has the same marks: larger, it was shrunk fewer times; smaller, as many times."""
    relay = opened()
    finish_jobs(relay, "old")
    relay.maintenance.scrub()
    if copied == "before it shrank":
        shutil.copyfile(path, tmp_path / "copy")
    clock.advance(2 * RETENTION)
    assert relay.maintenance.purge() == 12
    if copied == "after it shrank":
        shutil.copyfile(path, tmp_path / "copy")
        finish_jobs(relay, "new", 4)
        relay.maintenance.scrub()
    larger = (tmp_path / "copy").stat().st_size > path.stat().st_size
    relay.submit(a_submission("kept", webhook_url=None))
    shutil.copyfile(tmp_path / "copy", path)

    assert larger == (copied == "before it shrank")
    with pytest.raises(StoreUnavailable, match="was overwritten while it was in use"):
        relay.submit(a_submission("lost", webhook_url=None))


def test_a_log_that_is_emptied_in_place_is_noticed_before_the_next_202(opened: Callable[[], Relay], path: Path) -> None:
    """CASES A1, a sibling: `: > relay.db-wal`. What is written behind the hole would be gone after a restart."""
    relay = opened()
    for number in range(4):
        relay.submit(a_submission(f"kept-{number}", webhook_url=None))
    relay.maintenance.scrub()  # empties the log itself
    for number in range(4):
        relay.submit(a_submission(f"more-{number}", webhook_url=None))
    os.truncate(path.with_name(f"{path.name}-wal"), 0)

    for number in range(3):
        with pytest.raises(StoreUnavailable, match="was overwritten while it was in use"):
            relay.submit(a_submission(f"lost-{number}", webhook_url=None))


def test_space_that_new_jobs_will_need_is_kept(opened: Callable[[], Relay], path: Path, clock: Clock) -> None:
    """A tenth of the pages in use stays free: an hourly purge moves no page that the next hour needs again."""
    relay = opened()
    finish_jobs(relay, "old", 1)
    clock.advance(RETENTION - 10)
    finish_jobs(relay, "young", 12)
    relay.maintenance.scrub()
    before = path.stat().st_size
    clock.advance(20)

    assert relay.maintenance.purge() == 1
    assert path.stat().st_size == before


def test_a_file_that_was_created_without_it_works_and_stays_as_large(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a file made by this version can shrink: the setting is made with its first page."""
    monkeypatch.setattr(free_space, "prepare", lambda connection: None)
    relay = Relay(SqliteStore(path, clock=clock), QuietNotifier(), Policy())
    finish_jobs(relay, "r")
    relay.maintenance.scrub()
    before = path.stat().st_size
    clock.advance(2 * RETENTION)

    assert relay.maintenance.purge() == 12
    assert path.stat().st_size >= before
    relay.close()


def test_emptying_the_log_lets_others_write_while_a_reader_stays(
    opened: Callable[[], Relay], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup reads for minutes: truncating the log waits for it with the writer's lock unless it gives up at once."""
    monkeypatch.setattr(free_space, "_TRIES", 10)
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 20.0)
    relay, other = opened(), opened()
    relay.submit(a_submission("r-1", webhook_url=None))
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchall()
    relay.submit(a_submission("r-2", webhook_url=None))
    scrubbing = threading.Thread(target=relay.maintenance.scrub)
    scrubbing.start()
    waits = []
    while not waits or scrubbing.is_alive():
        began = time.monotonic()
        other.submit(a_submission(f"meanwhile-{len(waits)}", webhook_url=None))
        waits.append(time.monotonic() - began)
    scrubbing.join()
    reader.close()

    assert max(waits) < 10  # 20 s where it waits for the reader
    relay.maintenance.scrub()
    assert path.with_name("relay.db-wal").stat().st_size == 0
    assert other.queries.status(JobRef(request_id="meanwhile-0"))["status"] == "pending"
