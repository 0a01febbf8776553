"""Hand-overs of real processes, with a socket of our own in systemd's place: what needs neither root nor a systemd."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.notified import Above
from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Above]:
    with Above(tmp_path / "notify") as heard:
        yield heard


def handed_to(above: Above) -> int:
    """The pid that the unit's main process is said to be now."""
    found = eventually(lambda: re.search(r"^MAINPID=(\d+)\nREADY=1$", above.all(), re.MULTILINE), within=60)
    return int(found[1])


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextlib.contextmanager
def ended(pid: int) -> Iterator[None]:
    """It is not a child of ours: end it, whatever happens."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: gone(pid), within=30)


def test_a_worker_hands_over_in_mid_call(tmp_path: Path, above: Above) -> None:
    """READY, RELOADING, MAINPID: then the new one claims, and the old one ends once its call is home."""
    go_on = threading.Event()
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url, NOTIFY_SOCKET=above.path) as rig:
        upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
        rig.start()
        rig.submit({"prompt": "long", "requestId": "long"})
        eventually(lambda: len(upstream.books) == 1, within=30)
        rig.worker.signal(signal.SIGHUP)
        with ended(handed_to(above)):
            rig.submit({"prompt": "x", "requestId": "short"})
            assert rig.finished("short")["status"] == "completed"
            assert rig.worker.alive
            assert rig.status("long")["status"] == "processing"
            go_on.set()
            assert rig.worker.wait(30) == 0
            assert rig.status("long")["status"] == "completed"

        assert "RELOADING=1\nMONOTONIC_USEC=" in above.all()
        assert len(upstream.books) == 2


def test_an_api_hands_its_port_over(tmp_path: Path, above: Above) -> None:
    """The new one listens where the old one did, which has ended; nobody was refused."""
    with Rig(tmp_path, NOTIFY_SOCKET=above.path) as rig:
        rig.start_api()
        answers: list[int] = []
        stop = threading.Event()

        def submit() -> None:
            while not stop.is_set():
                answers.append(rig.submit({"prompt": "x"}).status_code)

        caller = threading.Thread(target=submit)
        caller.start()
        rig.api.signal(signal.SIGHUP)
        with ended(handed_to(above)):
            assert rig.api.wait(30) == 0
            before = len(answers)
            eventually(lambda: len(answers) > before + 5)
            stop.set()
            caller.join(30)
            assert set(answers) == {202}
            assert sum(rig.get("/api/overview")["jobs"].values()) == len(answers)
