"""`serve --with-worker`: two processes that are restarted, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from claude_relay.cli import supervise
from tests.support.eventually import eventually

#: Reports that it is ready, and exits with 0 after a SIGTERM.
_CHILD = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", flush=True)
stop.wait(100)
sys.exit(0 if stop.is_set() else 9)
"""


#: Ends after a SIGTERM only once its standard input is closed, as a worker does whose calls run.
_DRAINING_CHILD = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", flush=True)
stop.wait(100)
print("draining", flush=True)
sys.stdin.read()
"""


class Starter:
    """Starts children, each after the action that a test has set for that moment."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.actions = {}

    def __call__(self, verb: str) -> subprocess.Popen[bytes]:
        self.actions.get(len(self.started), lambda: None)()
        child = subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        self.started.append(child)
        return child


@pytest.fixture
def starter() -> Iterator[Starter]:
    starter = Starter()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield starter
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for child in starter.started:
        if child.poll() is None:
            child.kill()
        child.wait(60)
        if child.stdout:
            child.stdout.close()


class DrainingWorker:
    """Starts a worker that ends after a SIGTERM only once `finish` is called, and any other child by a `Starter`."""

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self.worker: subprocess.Popen[bytes] | None = None

    def __call__(self, verb: str) -> subprocess.Popen[bytes]:
        if verb == "serve":
            return self._starter(verb)
        worker = subprocess.Popen(
            [sys.executable, "-c", _DRAINING_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        self.worker = worker
        return worker

    def stop(self) -> None:
        """Signal the supervisor once both run, and wait until the worker drains."""
        eventually(lambda: self.worker is not None)
        signal_us()
        assert self.worker is not None and self.worker.stdout is not None
        assert self.worker.stdout.readline() == b"draining\n"

    def finish(self) -> None:
        assert self.worker is not None and self.worker.stdin is not None
        self.worker.stdin.close()


@pytest.fixture
def draining(starter: Starter) -> Iterator[DrainingWorker]:
    draining = DrainingWorker(starter)
    yield draining
    if draining.worker is not None:
        draining.finish()
        draining.worker.wait(60)
        if draining.worker.stdout:
            draining.worker.stdout.close()


@contextlib.contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Run `action` in a thread beside the block, which supervises."""
    thread = threading.Thread(target=action)
    thread.start()
    yield
    thread.join()


def signal_us(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_is_passed_on_to_both(starter: Starter, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the end of a terminal."""
    monkeypatch.setattr(os, "isatty", lambda handle: True)
    with meanwhile(lambda: (eventually(lambda: len(starter.started) == 2), signal_us(number))):
        assert supervise.supervise(starter) == 0
    assert [child.poll() for child in starter.started] == [0, 0]


@pytest.mark.parametrize("at", [0, 1])
def test_a_signal_while_a_process_is_started_leaves_none_behind(starter: Starter, at: int) -> None:
    """The handlers are installed before the first start."""
    starter.actions[at] = signal_us

    assert supervise.supervise(starter) == 0
    assert [child.poll() for child in starter.started] == [0] * (at + 1)


def test_a_signal_during_a_restart_reaches_the_new_process(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_DELAY", 0.01)
    starter.actions[2] = signal_us
    with meanwhile(lambda: (eventually(lambda: len(starter.started) == 2), starter.started[1].kill())):
        assert supervise.supervise(starter) == 0
    assert [child.poll() for child in starter.started] == [0, -signal.SIGKILL, 0]


def test_a_process_whose_settings_are_wrong_ends_both(starter: Starter) -> None:
    def start(verb: str) -> subprocess.Popen[bytes]:
        if verb == "serve":
            return starter(verb)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(78)"])

    assert supervise.supervise(start) == 78
    assert starter.started[0].poll() == 0


def test_a_hangup_without_a_terminal_is_a_reload_of_both(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES A8: they read their secrets again; nothing ends."""
    monkeypatch.setattr(os, "isatty", lambda handle: False)
    sent: list[int] = []

    def start(verb: str) -> subprocess.Popen[bytes]:
        child = starter(verb)
        deliver = child.send_signal
        monkeypatch.setattr(child, "send_signal", lambda number: (sent.append(number), deliver(signal.SIGTERM))[0])
        return child

    def reload_then_stop() -> None:
        eventually(lambda: len(starter.started) == 2)
        signal_us(signal.SIGHUP)
        eventually(lambda: len(sent) == 2)
        signal_us()

    with meanwhile(reload_then_stop):
        supervise.supervise(start)
    assert sent[:2] == [signal.SIGHUP, signal.SIGHUP]


def test_the_api_goes_on_until_the_worker_is_done(starter: Starter, draining: DrainingWorker) -> None:
    """CASES C3: `docker stop -t 150` lets calls end, and jobs are accepted meanwhile."""
    api_runs: list[bool] = []

    def stop() -> None:
        draining.stop()
        api_runs.append(starter.started[0].poll() is None)
        draining.finish()

    with meanwhile(stop):
        assert supervise.supervise(draining) == 0
    assert api_runs == [True]
    assert starter.started[0].poll() == 0


def test_a_second_signal_ends_the_api_as_well(starter: Starter, draining: DrainingWorker) -> None:
    """CASES C3: without waiting for the worker."""

    def stop() -> None:
        draining.stop()
        signal_us()
        starter.started[0].wait(60)
        draining.finish()

    with meanwhile(stop):
        assert supervise.supervise(draining) == 0
