"""Notifications to systemd, received by a fake socket, and watchdog signals."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.errors import Conflict
from claude_relay.systemd import Notifier, ServiceLoop, Supervisor, alert_trigger
from claude_relay.worker.inflight import InFlightCalls
from claude_relay.worker.instance_lock import InstanceLock
from claude_relay.worker.periodic import PeriodicThread
from tests.support.eventually import eventually
from tests.support.notified import Above


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Above]:
    with Above(tmp_path / "notify") as heard:
        yield heard


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def a_loop(above: Above, clock: Clock, *, watchdog: float = 40.0, silent: str | None = None, status: str = "well"):
    supervisor = Supervisor(notifier=Notifier(above.path), watchdog=watchdog)
    return ServiceLoop(supervisor, silent=lambda: silent, status=lambda: status, clock=clock)


def test_a_message_is_one_datagram_of_lines(above: Above) -> None:
    Notifier(above.path).tell("READY=1", "STATUS=listening")
    assert above.heard() == ["READY=1\nSTATUS=listening"]


def test_a_reload_is_announced_with_its_time(above: Above) -> None:
    earliest = time.monotonic_ns() // 1000
    Notifier(above.path).reloading()
    first, second = above.heard()[0].split("\n")
    assert first == "RELOADING=1"
    assert earliest <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@claude-relay-nobody"])
def test_without_a_supervisor_nothing_is_raised(address: str) -> None:
    notifier = Notifier(address)
    notifier.tell("READY=1")
    notifier.barrier(timeout=0.1)
    assert bool(notifier) == bool(address)


def test_the_barrier_waits_until_it_is_processed(above: Above) -> None:
    done = threading.Event()

    def pass_it() -> None:
        Notifier(above.path).barrier(timeout=60)
        done.set()

    threading.Thread(target=pass_it, daemon=True).start()
    assert not done.wait(0.2)
    assert eventually(above.heard) == ["BARRIER=1"]
    assert done.wait(60)


def test_the_watchdog_is_pinged_four_times_per_timeout_unless_a_part_hangs(above: Above) -> None:
    clock = Clock()
    watched = a_loop(above, clock)
    for clock.now in (0, 5, 10, 15, 20):
        watched.tick()
    assert [message for message in above.heard() if "WATCHDOG" in message] == ["WATCHDOG=1"] * 3

    hung = a_loop(above, clock, silent="heart")
    hung.tick()
    assert not [message for message in above.heard() if "WATCHDOG" in message]


def test_the_status_is_sent_when_it_changes(above: Above) -> None:
    clock = Clock()
    watched = a_loop(above, clock, watchdog=0)
    for clock.now in (0, 5, 10):
        watched.tick()
    assert above.heard() == ["STATUS=well"]


def test_stopping_requests_more_time(above: Above) -> None:
    a_loop(above, Clock(), watchdog=0).stopping("1 call")
    assert above.heard() == ["EXTEND_TIMEOUT_USEC=60000000", "STOPPING=1\nSTATUS=1 call"]


def test_variables_for_another_process_are_ignored() -> None:
    """A child that inherits the environment has neither the sockets nor the watchdog."""
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    supervisor = Supervisor.from_environment(environ)
    assert (supervisor.sockets, supervisor.watchdog) == ([], None)
    assert "LISTEN_FDS" not in environ


def test_a_watchdog_for_this_process_is_used() -> None:
    assert Supervisor.from_environment({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}).watchdog == 2.0


def test_a_loop_is_alive_while_it_runs() -> None:
    stuck = threading.Event()
    loop = PeriodicThread("some", lambda: 0.01 if not stuck.is_set() else threading.Event().wait() or 0.0)
    assert loop.alive(time.monotonic())  # not started: not missed
    loop.start()
    eventually(lambda: loop.alive(time.monotonic()))
    stuck.set()
    eventually(lambda: not loop.alive(time.monotonic(), patience=0.3))
    assert loop.alive(time.monotonic())
    assert not loop.alive(time.monotonic() + 60)


def test_a_loop_that_rests_until_its_next_round_is_alive() -> None:
    """Ten-minute leases are renewed every few minutes: a two-minute watchdog must not see a hang."""
    rested = threading.Event()

    def step() -> float:
        rested.set()
        return 300.0

    loop = PeriodicThread("rests", step)
    loop.start()
    try:
        assert rested.wait(60)
        eventually(lambda: loop.alive(time.monotonic() + 290))
        assert not loop.alive(time.monotonic() + 400)
    finally:
        loop.stop()


def test_a_call_is_stuck_past_its_deadline_and_in_silence() -> None:
    """Past its deadline alone is not enough: its answer may be waiting for a full disk."""
    in_hand = InFlightCalls()

    class Some:
        class job:  # noqa: N801 - it stands in for an attribute
            id = "j"

    running = in_hand.add(Some, None)
    now = running.started_at
    assert in_hand.stalled(now + 99, longest=100, silence=10) is None
    assert in_hand.stalled(now + 101, longest=100, silence=10) is running
    running.progress_at = now + 95
    assert in_hand.stalled(now + 101, longest=100, silence=10) is None


def test_one_worker_of_a_name_at_a_time(tmp_path: Path) -> None:
    first = InstanceLock(tmp_path, "main")
    with pytest.raises(Conflict, match=rf"named main is already running \(process {os.getpid()}\).*--name"):
        InstanceLock(tmp_path, "main")
    InstanceLock(tmp_path, "other").release()
    InstanceLock(tmp_path, None).release()

    next_one = InstanceLock(tmp_path, "main", inherited=os.dup(first.handle))
    first.release()
    with pytest.raises(Conflict):
        InstanceLock(tmp_path, "main")  # the next generation has it
    next_one.release()
    InstanceLock(tmp_path, "main").release()


def test_an_alert_touches_the_file_that_the_path_unit_watches(tmp_path):
    """In systemd's state directory, repeatedly, and nowhere without one."""
    leave = alert_trigger.leaving({"STATE_DIRECTORY": f"{tmp_path}:/elsewhere"})
    assert leave is not None
    leave(None)
    leave(1.5)

    assert alert_trigger.outage_since({"STATE_DIRECTORY": str(tmp_path)}) == 1.5
    assert alert_trigger.outage_since({}) is None
    unit = (Path(__file__).parents[2] / "systemd" / "claude-relay-alerts.path").read_text(encoding="utf-8")
    [watched] = [line for line in unit.splitlines() if line.startswith("PathChanged=")]
    assert [path.name for path in tmp_path.iterdir()] == [Path(watched).name]
    assert alert_trigger.leaving({}) is None
