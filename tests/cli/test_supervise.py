"""`serve --with-worker`: two processes kept up, and none left behind."""

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

#: Says that it listens, and ends well when told to.
_CHILD = """
import signal, sys, threading
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
print("ready", flush=True)
told.wait(30)
sys.exit(0 if told.is_set() else 9)
"""


class Starts:
    """Starts children, each after what a test wants to happen at that moment."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.before = {}

    def __call__(self, verb: str) -> subprocess.Popen[bytes]:
        self.before.get(len(self.started), lambda: None)()
        child = subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        self.started.append(child)
        return child


@pytest.fixture
def starts() -> Iterator[Starts]:
    starts = Starts()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield starts
    for number, handler in before.items():
        signal.signal(number, handler)
    for child in starts.started:
        if child.poll() is None:
            child.kill()
        child.wait(10)
        if child.stdout:
            child.stdout.close()


def tell_us(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_passed_on_to_both(starts: Starts, number: int) -> None:
    ready = threading.Thread(target=lambda: (eventually(lambda: len(starts.started) == 2), tell_us(number)))
    ready.start()

    assert supervise.supervise(starts) == 0
    assert [child.poll() for child in starts.started] == [0, 0]
    ready.join()


@pytest.mark.parametrize("at", [0, 1])
def test_a_stop_that_comes_while_a_process_is_started_leaves_none_behind(starts: Starts, at: int) -> None:
    """The handlers are there before the first one is."""
    starts.before[at] = tell_us

    assert supervise.supervise(starts) == 0
    assert [child.poll() for child in starts.started] == [0] * (at + 1)


def test_a_stop_that_comes_in_the_moment_of_a_restart_reaches_the_new_process(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_PAUSE", 0.01)
    starts.before[2] = tell_us
    killing = threading.Thread(target=lambda: (eventually(lambda: len(starts.started) == 2), starts.started[1].kill()))
    killing.start()

    assert supervise.supervise(starts) == 0
    assert [child.poll() for child in starts.started] == [0, -signal.SIGKILL, 0]
    killing.join()


def test_a_process_whose_settings_are_wrong_ends_both(starts: Starts) -> None:
    def start(verb: str) -> subprocess.Popen[bytes]:
        if verb == "serve":
            return starts(verb)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(78)"])

    assert supervise.supervise(start) == 78
    assert starts.started[0].poll() == 0
