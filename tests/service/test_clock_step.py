"""The wall clock is set, by hours, ahead and back: relative times are not affected."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.clock_step import Clocks
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.jobs.holds import HoldScope, QueueHold
from claude_relay.core.jobs.job import Job
from claude_relay.core.policy import DAY, Policy
from claude_relay.errors import NotFound
from claude_relay.ports import LostStore, WorkerHeartbeat
from claude_relay.services import JobRef, Relay
from claude_relay.services.clock_step import STATE_KEY
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_failure, a_submission
from tests.support.together import together

HOUR = 3600.0
SET = pytest.mark.parametrize("by", [2 * HOUR, -2 * HOUR, 40 * DAY, -40 * DAY])


class Machine:
    """The two clocks of a machine."""

    def __init__(self) -> None:
        self.wall, self.steady, self.boot = 1_800_000_000.0, 1000.0, "first"

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.steady += seconds

    def set(self, by: float) -> None:
        """Set the wall clock."""
        self.wall += by

    def starts_again(self, wall: float) -> None:
        self.wall, self.steady, self.boot = wall, 3.0, "second"

    def clocks(self) -> Clocks:
        return Clocks(wall=self.wall, steady=self.steady, boot=self.boot)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def a_relay(path: Path, machine: Machine) -> Relay:
    store = SqliteStore(path, clock=lambda: machine.wall)
    return Relay(store, QuietNotifier(), Policy(), read_clocks=machine.clocks, rng=random.Random(1))


@pytest.fixture
def relay(tmp_path: Path, machine: Machine) -> Iterator[Relay]:
    relay = a_relay(tmp_path / "relay.db", machine)
    relay.execution.claim("w", limit=1)  # any write: it stores the reference
    yield relay
    relay.close()


def claim(relay: Relay) -> list[str]:
    return [claimed.job.request_id for claimed in relay.execution.claim("w", limit=99)]


def stored(relay: Relay, name: str) -> Job:
    return relay._store.read(lambda tx: tx.find(name, None)[0])


@SET
def test_delays_and_backoffs_keep_their_length(relay: Relay, machine: Machine, by: float) -> None:
    relay.submit(a_submission("backing off"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(retry_after=600.0))
    relay.submit(a_submission("delayed", run_at=machine.wall + 600))
    relay.submit(a_submission("due"))
    machine.set(by)
    machine.passes(1)

    assert claim(relay) == ["due"]
    machine.passes(597)
    assert claim(relay) == []
    machine.passes(3)
    assert sorted(claim(relay)) == ["backing off", "delayed"]


@SET
def test_only_a_deadline_given_as_a_time_is_not_shifted(relay: Relay, machine: Machine, by: float) -> None:
    moment = machine.wall + HOUR
    relay.submit(a_submission("default", run_at=machine.wall + 99 * DAY))
    relay.submit(a_submission("length", run_at=machine.wall + 99 * DAY, deadline_at=moment))
    relay.submit(a_submission("moment", run_at=machine.wall + 99 * DAY, deadline_at=moment, deadline_fixed=True))
    machine.set(by)
    machine.passes(HOUR - 2)
    early = [job.request_id for job in relay.maintenance.expire()]
    machine.passes(3)
    then = [job.request_id for job in relay.maintenance.expire()]

    assert (early, then) == ((["moment"], ["length"]) if by > 0 else ([], ["length"]))
    assert stored(relay, "default").deadline_at == pytest.approx(machine.wall + 100 * DAY - HOUR, abs=2)
    assert stored(relay, "moment").deadline_at == moment


def test_a_run_at_given_as_a_time_is_not_shifted(relay: Relay, machine: Machine) -> None:
    at = machine.wall + HOUR
    relay.submit(a_submission("r", run_at=at, run_at_fixed=True))
    machine.set(-2 * HOUR)
    machine.passes(2 * HOUR)
    assert claim(relay) == []
    machine.set(HOUR)
    machine.passes(1)

    assert machine.wall >= at
    assert claim(relay) == ["r"]


@SET
def test_group_rates_and_throttles_keep_their_length(relay: Relay, machine: Machine, by: float) -> None:
    relay.set_group("g", concurrency=None, rate=1)
    relay.submit_many([a_submission(name, group="g", model="claude-opus-5-5") for name in ("g1", "g2")])
    assert claim(relay) == ["g1"]
    relay.submit_many([a_submission("s1"), a_submission("s2", run_at=machine.wall + 5)])
    [throttled] = relay.execution.claim("w", limit=1)
    relay.execution.fail(throttled, a_failure(ErrorType.RATE_LIMIT, Remedy.THROTTLE, retry_after=50.0))
    machine.set(by)
    machine.passes(48)
    assert claim(relay) == []
    machine.passes(3)
    assert sorted(claim(relay)) == ["s1", "s2"]
    machine.passes(10)
    assert claim(relay) == ["g2"]


@SET
def test_a_parked_queue_is_alerted_once_and_probed_on_time(relay: Relay, machine: Machine, by: float) -> None:
    relay.submit_many([a_submission("a"), a_submission("b")])
    [refused] = relay.execution.claim("w", limit=1)
    relay.execution.fail(refused, a_failure(ErrorType.PERMISSION, Remedy.PARK))
    assert len(relay.alerts.evaluate()) == 1
    deadline = stored(relay, "b").deadline_at or 0
    machine.set(by)
    machine.passes(290)
    assert claim(relay) == []
    assert relay.alerts.evaluate() == []
    machine.passes(11)
    [probe] = relay.execution.claim("w", limit=9)
    relay.execution.complete(probe, a_completion())

    assert len(claim(relay)) == 1
    assert stored(relay, "b").deadline_at == pytest.approx(deadline + by + 301, abs=1)


@SET
def test_a_delivery_keeps_its_schedule(relay: Relay, machine: Machine, by: float) -> None:
    relay.submit(a_submission("r"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    machine.passes(2)
    [claimed] = relay.deliveries.claim("w", limit=9, at_once=9)
    relay.deliveries.record_attempt(claimed, Reply(status=503, retry_after=100.0))
    machine.set(by)
    machine.passes(98)
    assert relay.deliveries.claim("w", limit=9, at_once=9) == []
    machine.passes(3)

    assert len(relay.deliveries.claim("w", limit=9, at_once=9)) == 1


def test_a_clock_set_ahead_does_not_shorten_retention(relay: Relay, machine: Machine) -> None:
    relay.submit(a_submission("r", webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    machine.passes(HOUR)
    machine.set(400 * DAY)
    assert relay.maintenance.purge() == 0
    machine.passes(22 * HOUR)
    assert relay.maintenance.purge() == 0
    machine.passes(2 * HOUR)
    assert relay.maintenance.purge() == 1


def test_a_clock_set_ahead_by_mistake_does_not_prolong_retention(relay: Relay, machine: Machine) -> None:
    machine.set(400 * DAY)
    relay.submit(a_submission("r", webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    machine.set(-400 * DAY)
    relay.maintenance.expire()
    machine.passes(23 * HOUR)

    assert relay.maintenance.purge() == 0
    machine.passes(2 * HOUR)
    assert relay.maintenance.purge() == 1


@pytest.mark.parametrize("by", [2 * HOUR, -2 * HOUR])
def test_a_clock_that_is_set_during_a_write(
    relay: Relay, machine: Machine, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    """The write uses the old time, and its rows are shifted with the others."""
    kept, read = relay._store, machine.clocks

    def set_just_before() -> Clocks:
        monkeypatch.setattr(kept, "_clocks", read)
        machine.set(by)
        return machine.clocks()

    monkeypatch.setattr(kept, "_clocks", set_just_before)
    kept.write(
        lambda tx: tx.save_hold(QueueHold(scope=HoldScope.family("opus"), reason="x", since=tx.now, until=tx.now + 60))
    )
    [hold] = kept.read(lambda tx: tx.holds())

    assert hold.until == machine.wall + 60


def test_one_of_two_processes_shifts_the_rows(relay: Relay, machine: Machine, tmp_path: Path) -> None:
    other = a_relay(tmp_path / "relay.db", machine)
    other.execution.claim("v", limit=1)
    relay.submit(a_submission("r", run_at=machine.wall + 600))
    machine.set(2 * HOUR)
    for _ in range(3):
        other.submit(a_submission())
        relay.submit(a_submission())

    assert stored(relay, "r").due_at == pytest.approx(machine.wall + 600)
    other.close()


def test_a_clock_set_while_no_process_ran_is_detected_at_the_start(machine: Machine, tmp_path: Path) -> None:
    first = a_relay(tmp_path / "relay.db", machine)
    first.submit(a_submission("r", run_at=machine.wall + 600))
    first.close()
    machine.passes(100)
    machine.set(-2 * HOUR)
    second = a_relay(tmp_path / "relay.db", machine)
    assert claim(second) == []

    machine.passes(501)
    assert claim(second) == ["r"]
    second.close()


def test_a_machine_without_a_battery_starts_in_1970_and_gets_the_time_later(machine: Machine, tmp_path: Path) -> None:
    """No job waits for fifty years, and none is overdue by as many."""
    then = machine.wall
    first = a_relay(tmp_path / "relay.db", machine)
    first.submit_many([a_submission("due"), a_submission("later", run_at=then + 600)])
    first.close()
    machine.starts_again(wall=30.0)
    second = a_relay(tmp_path / "relay.db", machine)
    assert claim(second) == ["due"]
    machine.passes(60)
    machine.set(then + HOUR - machine.wall)
    assert claim(second) == []
    assert [job.request_id for job in second.maintenance.expire()] == []
    machine.passes(560)

    assert claim(second) == ["later"]
    second.close()


def test_a_rollback_undoes_the_shift_and_the_next_write_repeats_it(relay: Relay, machine: Machine) -> None:
    relay.submit(a_submission("r", run_at=machine.wall + 600))
    machine.set(2 * HOUR)
    with pytest.raises(ZeroDivisionError):
        relay._store.write(lambda tx: 1 / 0)
    relay.pause("x")

    assert stored(relay, "r").due_at == pytest.approx(machine.wall + 600)


def test_a_write_that_shares_the_transaction_repeats_a_shift_that_was_rolled_back(
    relay: Relay, machine: Machine
) -> None:
    relay.submit(a_submission("delayed", run_at=machine.wall + 600))
    due = stored(relay, "delayed").due_at
    machine.set(HOUR)
    missing, _ = together(
        relay._store._store,
        lambda: relay.cancel(JobRef(request_id="unknown")),
        lambda: relay.submit(a_submission("beside it", run_at=machine.wall + 60)),
    )

    assert isinstance(missing, NotFound)
    assert stored(relay, "delayed").due_at == due + HOUR
    assert stored(relay, "beside it").due_at == machine.wall + 60


def test_a_live_worker_stays_alive(relay: Relay, machine: Machine) -> None:
    seen = WorkerHeartbeat(id="w", host="h", pid=1, started_at=machine.wall, seen_at=machine.wall, slots=1, running=0)
    relay.maintenance.heartbeat(seen)
    machine.set(2 * HOUR)

    assert relay.queries.overview()["workers"][0]["alive"]


def test_the_status_shows_the_shifted_time(relay: Relay, machine: Machine) -> None:
    relay.submit(a_submission("r", run_at=machine.wall + 600))
    machine.set(-2 * HOUR)
    due = stored(relay, "r").due_at

    assert due == pytest.approx(machine.wall + 600)
    assert str(relay.queries.status(JobRef(request_id="r"))["waitingFor"]).startswith("due ")


def test_all_else_is_the_store_s_own(machine: Machine, tmp_path: Path) -> None:
    """Its check, also the deep one, its backup, and what it does with its file."""
    store = SqliteStore(tmp_path / "relay.db", clock=lambda: machine.wall)
    relay = Relay(store, QuietNotifier(), Policy(), read_clocks=machine.clocks, rng=random.Random(1))
    relay.submit(a_submission("r"))
    relay.backup(tmp_path / "copy.db")
    copy = a_relay(tmp_path / "copy.db", machine)
    assert copy.queries.status(JobRef(request_id="r"))["status"] == "pending"
    assert copy.queries.check() is None
    copy.close()

    asked: list[bool] = []
    store.check = lambda *, deep=False: asked.append(deep) or "a fault"  # type: ignore[method-assign, func-returns-value]
    assert (relay.queries.check(), relay.queries.check(deep=True)) == ("a fault", "a fault")
    assert asked == [False, True]
    cleaned: list[str] = []
    store.scrub = lambda: cleaned.append("scrub")  # type: ignore[method-assign]
    store.give_back = lambda limit: bool(cleaned.append(f"{limit} pages"))  # type: ignore[method-assign, func-returns-value]
    relay.maintenance.scrub()
    assert cleaned == ["scrub"]
    gone = LostStore(message="it was removed", since=9.0, command="cp a b", settled=True, responsible=True)
    store.lost = lambda: gone  # type: ignore[method-assign]
    found = relay.alerts.lost_store()
    assert found is not None and found[1] is gone
    relay.submit(a_submission("s", webhook_url=None))
    relay.cancel(JobRef(request_id="s"))
    machine.passes(100 * DAY)
    assert relay.maintenance.purge() == 1 and len(cleaned) == 3
    relay.close()


def test_the_clocks_are_stored_now_and_then_and_not_by_every_write(machine: Machine, tmp_path: Path) -> None:
    """Once a minute while they run in step: each write would else have a row more."""
    store = SqliteStore(tmp_path / "relay.db", clock=lambda: machine.wall)
    relay = Relay(store, QuietNotifier(), Policy(), read_clocks=machine.clocks, rng=random.Random(1))
    memos = []
    for seconds in (0.0, 60.0, 0.1):
        machine.passes(seconds)
        relay.submit(a_submission())
        memos.append(store.read(lambda tx: tx.shared_value(STATE_KEY)))

    assert memos[0] == memos[1] != memos[2]
    relay.close()
