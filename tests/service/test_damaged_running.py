"""A running job whose row the disk has changed, and whose worker is dead: it ends, and is not called again."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.policy import Policy
from claude_relay.ports import Store, Transaction, WorkerHeartbeat
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.maintenance import MaintenanceThread
from claude_relay.worker.worker_locks import WorkerLocks
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    relay = a_relay(store)
    yield relay
    relay.close()


def a_relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))


def change(store: Store, sql: str) -> None:
    """Change a row as a failing disk does: past every rule."""

    def run(tx: Transaction) -> None:
        tx._run(sql, ())  # type: ignore[attr-defined]

    store.write(run)


def start_call(relay: Relay) -> Any:
    """A call of worker `dead` that was sent and has some text, beside a job that waits."""
    for worker in ("dead", "alive", "w"):
        relay.maintenance.heartbeat(
            WorkerHeartbeat(id=worker, host="h", pid=1, started_at=0.0, seen_at=0.0, slots=1, running=0)
        )
    relay.submit(a_submission("job-one", group="g"))
    [claimed] = relay.execution.claim("dead", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="Sva", cost_usd=0.25))
    relay.submit(a_submission("intact", group="g"))

    return claimed


def recover(relay: Relay, folder: Path, *, alive: str = "alive") -> None:
    """One round of a worker's recovery; the lock of one other worker is held."""
    locks = WorkerLocks(folder / "workers")
    locks.acquire(alive)
    thread = MaintenanceThread(
        relay, WorkerLocks(folder / "workers"), worker="w", lease=60, delivery_lease=60, clock=Clock()
    )
    thread.reap()
    locks.release(alive)


def assert_ended(relay: Relay, clock: Clock) -> None:
    """The job has ended under its own name, with one callback; the other goes on, and the store is whole."""
    details = relay.queries.job_details(JobRef(request_id="job-one"))
    body = json.loads(relay.queries.result(JobRef(request_id="job-one")) or b"{}")
    clock.advance(2)
    [sent] = relay.deliveries.claim("alive", limit=9)

    assert (details["status"], details["errorType"], details["costUsd"]) == ("failed", "interrupted", 0.25)
    assert (body["possibleDuplicateCharge"], body["partialResponse"]) == (True, "Sva")
    assert "the row of the job in the store is damaged" in body["error"]
    assert (sent.request_id, json.loads(sent.body)) == ("job-one", body)
    assert "store_damaged" in [alert.kind for alert in relay.alerts.evaluate()]
    assert list(relay.queries.damaged()) == []
    [other] = relay.execution.claim("alive", limit=9)
    relay.execution.complete(other, a_completion())
    assert other.job.request_id == "intact"
    assert relay.execution.running() == []


@pytest.mark.parametrize(
    "column",
    [
        "attempt = 3",
        "lease_worker = 'alive'",
        "lease_expires_at = 9e99, calls = 7",
        "lease_token = 'other'",
        "run_started_at = 9e99",
        "due_at = 9e99",
        "model = 'other'",
        "on_interrupt = 'rep'",
        "usage = '{'",
        "version = 77",
        "run = 3",
        "digest = body_hash",
    ],
)
def test_it_ends_as_interrupted_whatever_column_was_damaged(
    relay: Relay, store: Store, clock: Clock, tmp_path: Path, column: str
) -> None:
    """CASES S11: its callback says that the call may have to be paid for twice; nothing is called again."""
    start_call(relay)
    assert relay.execution.damaged_running(1) == []  # as many run as are intact
    if column == "digest = body_hash":
        column = "digest = " + ("x'00'" if isinstance(store, SqliteStore) else "'x'")
    change(store, f"UPDATE jobs SET {column} WHERE request_id = 'job-one'")
    recover(relay, tmp_path)

    assert_ended(relay, clock)


@pytest.mark.parametrize("worker", ["alive", "w"])
def test_that_of_a_living_worker_is_left_to_it(
    relay: Relay, store: Store, clock: Clock, tmp_path: Path, worker: str
) -> None:
    """The ledger says whose it is, whatever the row says; its answer is stored when it ends."""
    claimed = start_call(relay)
    change(store, "UPDATE jobs SET lease_worker = 'nobody' WHERE request_id = 'job-one'")
    recover(relay, tmp_path, alive="dead")
    job = relay.execution.complete(claimed, a_completion("Svar"))

    assert job.state.value == "completed"


def test_its_lease_is_renewed_by_a_living_worker(relay: Relay, store: Store) -> None:
    """The call is not dropped for a damaged row, which is replaced; one that was taken away is dropped."""
    claimed = start_call(relay)
    change(store, "UPDATE jobs SET lease_worker = 'other' WHERE request_id = 'job-one'")
    assert relay.execution.renew("dead", [claimed]) == {claimed.job.id: claimed.token}
    assert list(relay.queries.damaged()) == []

    relay.execution.reap(claimed.job.id, claimed.token, why="a test")
    assert relay.execution.renew("dead", [claimed]) == {}


def test_a_cancel_that_was_requested_ends_it_as_cancelled(relay: Relay, store: Store, tmp_path: Path) -> None:
    start_call(relay)
    relay.cancel(JobRef(request_id="job-one"))
    change(store, "UPDATE jobs SET attempt = 3 WHERE request_id = 'job-one'")
    recover(relay, tmp_path)

    assert relay.queries.status(JobRef(request_id="job-one"))["errorType"] == "cancelled"


@pytest.mark.parametrize("sql", ["UPDATE calls SET outcome = 'completed'", "UPDATE jobs SET owner = 'another'"])
def test_one_that_did_not_run_or_whose_owner_is_in_doubt_is_left(
    relay: Relay, store: Store, tmp_path: Path, sql: str
) -> None:
    """Nothing is shown to another key, and no outcome replaces one that there was."""
    start_call(relay)
    change(store, "UPDATE jobs SET attempt = 3 WHERE request_id = 'job-one'")
    change(store, f"{sql} WHERE {'job_id' if 'calls' in sql else 'id'} IN (SELECT job_id FROM partials)")
    recover(relay, tmp_path)

    assert [name for name, _ in relay.queries.damaged()] == ["job-one"]
    assert relay.queries.status(JobRef(request_id="intact"))["status"] == "pending"


@pytest.mark.parametrize("damaged", ["job-onf", "job-on\x00"])
def test_its_name_is_that_of_the_index(tmp_path: Path, clock: Clock, damaged: str) -> None:
    """A bit in the file, in the requestId of the row: the index of SQLite has what was written."""
    file = tmp_path / "relay.db"
    relay = a_relay(SqliteStore(file, clock=clock))
    start_call(relay)
    relay.close()
    content = file.read_bytes()
    assert content.count(b"adminjob-onehash") == 1
    file.write_bytes(content.replace(b"adminjob-onehash", f"admin{damaged}hash".encode()))
    relay = a_relay(SqliteStore(file, clock=clock))
    recover(relay, tmp_path)

    assert_ended(relay, clock)
    relay.close()
