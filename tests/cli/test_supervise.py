"""`serve --with-worker`: two processes that are restarted, and none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from claude_relay.cli import supervise
from tests.support.eventually import eventually

#: Reports that it is ready, and exits with 0 after a SIGTERM.
_CHILD = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", flush=True)
stop.wait(30)
sys.exit(0 if stop.is_set() else 9)
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
        child.wait(10)
        if child.stdout:
            child.stdout.close()


def signal_us(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_is_passed_on_to_both(starter: Starter, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the end of a terminal."""
    monkeypatch.setattr(os, "isatty", lambda handle: True)
    ready = threading.Thread(target=lambda: (eventually(lambda: len(starter.started) == 2), signal_us(number)))
    ready.start()

    assert supervise.supervise(starter) == 0
    assert [child.poll() for child in starter.started] == [0, 0]
    ready.join()


@pytest.mark.parametrize("at", [0, 1])
def test_a_signal_while_a_process_is_started_leaves_none_behind(starter: Starter, at: int) -> None:
    """The handlers are installed before the first start."""
    starter.actions[at] = signal_us

    assert supervise.supervise(starter) == 0
    assert [child.poll() for child in starter.started] == [0] * (at + 1)


def test_a_signal_during_a_restart_reaches_the_new_process(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_DELAY", 0.01)
    starter.actions[2] = signal_us
    killing = threading.Thread(
        target=lambda: (eventually(lambda: len(starter.started) == 2), starter.started[1].kill())
    )
    killing.start()

    assert supervise.supervise(starter) == 0
    assert [child.poll() for child in starter.started] == [0, -signal.SIGKILL, 0]
    killing.join()


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

    ending = threading.Thread(target=reload_then_stop)
    ending.start()
    supervise.supervise(start)
    ending.join()
    assert sent[:2] == [signal.SIGHUP, signal.SIGHUP]


#: Ends after a SIGTERM only once its standard input is closed, as a worker does whose calls run.
_DRAINING_CHILD = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", flush=True)
stop.wait(30)
print("draining", flush=True)
sys.stdin.read()
"""


def test_the_api_goes_on_until_the_worker_is_done(starter: Starter) -> None:
    """CASES C3: `docker stop -t 150` lets calls end, and jobs are accepted meanwhile; a second signal ends both."""
    running: list[subprocess.Popen[bytes]] = []
    seen: list[bool] = []

    def start(verb: str) -> subprocess.Popen[bytes]:
        if verb == "serve":
            return starter(verb)
        worker = subprocess.Popen(
            [sys.executable, "-c", _DRAINING_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        running.append(worker)
        return worker

    def stop() -> None:
        eventually(lambda: running)
        signal_us()
        [worker] = running
        assert worker.stdin is not None and worker.stdout is not None
        seen.append(worker.stdout.readline() == b"draining\n")
        seen.append(starter.started[0].poll() is None)
        worker.stdin.close()

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert supervise.supervise(start) == 0
    stopping.join()
    running[0].stdout.close()
    assert seen == [True, True]
    assert starter.started[0].poll() == 0


def test_a_second_signal_ends_the_api_as_well(starter: Starter) -> None:
    """CASES C3: without waiting for the worker."""
    running: list[subprocess.Popen[bytes]] = []

    def start(verb: str) -> subprocess.Popen[bytes]:
        if verb == "serve":
            return starter(verb)
        worker = subprocess.Popen(
            [sys.executable, "-c", _DRAINING_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        running.append(worker)
        return worker

    def stop() -> None:
        eventually(lambda: running)
        signal_us()
        [worker] = running
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdout.readline()
        signal_us()
        starter.started[0].wait(20)
        worker.stdin.close()

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert supervise.supervise(start) == 0
    stopping.join()
    running[0].stdout.close()
