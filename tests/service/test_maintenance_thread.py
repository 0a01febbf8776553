"""The rounds of a worker's maintenance: what is due when, and whose jobs are taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.job import State
from claude_relay.errors import StoreUnavailable
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import JobRef, Relay
from claude_relay.worker.maintenance import MaintenanceThread
from claude_relay.worker.worker_locks import WorkerLocks
from tests.support.builders import Clock, a_submission

LEASE = 60.0


class Rounds:
    """The maintenance of worker `w`, round by round, by a clock of its own."""

    def __init__(self, relay: Relay, folder: Path, *, shared: bool = False) -> None:
        self.clock, self.tidied, self.folder = Clock(1000.0), 0, folder
        self.thread = MaintenanceThread(
            relay,
            WorkerLocks(folder, shared=shared),
            worker="w",
            lease=LEASE,
            delivery_lease=LEASE,
            restore_reserve=self.tidy,
            clock=self.clock,
        )

    def tidy(self) -> None:
        self.tidied += 1

    def run(self, seconds: float, *, step: float = 1.0) -> None:
        """A round at once, and one at each step until those seconds have passed."""
        self.thread._round()
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.thread._round()


def status_of(relay: Relay, name: str) -> Any:
    return relay.queries.status(JobRef(request_id=name))["status"]


def register(relay: Relay, worker: str) -> None:
    relay.maintenance.heartbeat(
        WorkerHeartbeat(id=worker, host="h", pid=1, started_at=0.0, seen_at=0.0, slots=1, running=0)
    )


def test_each_duty_has_its_interval(relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES M12: dead workers every 2 s, the disk once a minute, the purge after a minute and then hourly."""
    rounds, reaped, purged = Rounds(relay, tmp_path), [], []
    monkeypatch.setattr(rounds.thread, "reap", lambda: reaped.append(rounds.clock()))
    monkeypatch.setattr(relay.maintenance, "purge", lambda **_: purged.append(rounds.clock()) or 0)
    rounds.run(10)
    assert reaped == [1000.0, 1002.0, 1004.0, 1006.0, 1008.0, 1010.0]
    assert (rounds.tidied, purged) == (1, [])

    rounds.run(2 * 3600 + 110, step=60)
    assert purged == [1070.0, 1070.0 + 3600, 1070.0 + 7200]
    assert rounds.tidied == 1 + (2 * 3600 + 110) // 60


def test_a_dead_workers_job_is_taken_back_at_once(relay: Relay, tmp_path: Path) -> None:
    """CASES M12: its lock is free; it is struck off the list, and a living worker is left alone."""
    alive = WorkerLocks(tmp_path)
    alive.acquire("alive")
    for worker in ("dead", "alive", "w"):
        register(relay, worker)
        relay.submit(a_submission(f"of-{worker}"))
        assert len(relay.execution.claim(worker, limit=1)) == 1
    Rounds(relay, tmp_path).run(0)

    assert {name: status_of(relay, f"of-{name}") for name in ("dead", "alive", "w")} == {
        "dead": "pending",
        "alive": "processing",
        "w": "processing",
    }
    assert {worker.id for worker in relay.maintenance.workers()} == {"alive", "w"}
    alive.release("alive")


def test_a_worker_elsewhere_is_dead_once_its_lease_stands_still(relay: Relay, tmp_path: Path) -> None:
    """CASES M12: its lock is on another machine; the job is taken back after the lease, the heartbeat after 120 s."""
    register(relay, "far")
    relay.submit(a_submission("r-1"))
    relay.execution.claim("far", limit=1)
    rounds = Rounds(relay, tmp_path, shared=True)
    rounds.run(LEASE - 2)
    assert status_of(relay, "r-1") == "processing"

    rounds.run(6)
    assert status_of(relay, "r-1") == "pending"
    assert [worker.id for worker in relay.maintenance.workers()] == ["far"]

    rounds.run(60)
    assert relay.maintenance.workers() == []


def test_no_lease_stands_still_while_the_store_cannot_be_written(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CASES M12: then no worker can renew; the count begins again once it can be written."""
    relay.submit(a_submission("r-1"))
    relay.execution.claim("far", limit=1)
    rounds = Rounds(relay, tmp_path, shared=True)
    rounds.run(LEASE * 3 / 4)
    with monkeypatch.context() as patch:
        patch.setattr(relay.maintenance, "set_shared", _unavailable)
        with pytest.raises(StoreUnavailable):
            rounds.thread.reap()
    rounds.run(LEASE * 3 / 4)
    assert [job.state for job in relay.execution.running()] == [State.RUNNING]

    rounds.run(LEASE / 2)
    assert status_of(relay, "r-1") == "pending"


def _unavailable(*_: Any) -> None:
    raise StoreUnavailable("the disk is full")


def test_a_round_ends_the_jobs_past_their_deadline(relay: Relay, clock: Clock, tmp_path: Path) -> None:
    relay.submit(a_submission("late", deadline_at=clock() + 10))
    clock.advance(11)
    Rounds(relay, tmp_path).run(0)

    assert status_of(relay, "late") == "failed"
