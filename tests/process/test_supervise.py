"""`serve --with-worker`: both daemons in one container, restarted and stopped together."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.fixture
def rig(tmp_path: Path):
    with Rig(tmp_path) as rig:
        yield rig


def children(pid: int) -> dict[str, int]:
    """The supervisor's processes by verb."""
    pids = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if len(words) > 1:  # a zombie has no arguments
            pids[words[-2]] = int(child)
    return pids


@pytest.fixture
def supervisor(rig, tmp_path):
    log = tmp_path / "supervisor.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "claude_relay", "serve", "--with-worker"],
            env=rig.env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def speaks() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r"API on (http://127\.0\.0\.1:\d+)", log.read_text())

    rig.url = eventually(speaks, within=60)[1]
    yield process
    kept = children(process.pid) if process.poll() is None else {}
    process.kill()
    process.wait(60)
    for pid in kept.values():
        subprocess.run(["kill", "-9", str(pid)], check=False)


def another(process: subprocess.Popen[bytes], verb: str, than: int) -> Callable[[], int | None]:
    def look() -> int | None:
        pid = children(process.pid).get(verb)
        return pid if pid not in (None, than) else None

    return look


def test_a_daemon_that_ends_is_restarted_and_no_job_is_lost(rig, supervisor):
    eventually(lambda: rig.http.get(f"{rig.url}/health/ready", timeout=60).status_code == 200, within=60)
    rig.submit({"prompt": "[sandbox: slow 3s] x", "requestId": "r-1"})
    eventually(lambda: rig.status("r-1")["status"] == "processing", within=60)
    worker = children(supervisor.pid)["worker"]
    subprocess.run(["kill", "-9", str(worker)], check=True)

    eventually(another(supervisor, "worker", worker), within=60)
    assert rig.finished("r-1", within=60)["status"] == "completed"


def test_a_signal_reaches_both_and_the_exit_code_is_0(rig, supervisor):
    eventually(lambda: rig.http.get(f"{rig.url}/health/ready", timeout=60).status_code == 200, within=60)
    kept = children(supervisor.pid)
    supervisor.send_signal(signal.SIGTERM)

    assert supervisor.wait(60) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in kept.values())


def test_wrong_settings_end_it_with_78(rig, tmp_path):
    done = rig.command("serve", "--with-worker", PORT="x")

    assert done.returncode == 78
    assert "PORT" in done.stderr


def test_a_hangup_reloads_both_and_ends_neither(rig, supervisor):
    """CASES C10: a call that runs is completed with its first attempt, and the processes stay the same."""
    rig.submit({"prompt": "[sandbox: slow 3s] x", "requestId": "slow"})
    eventually(lambda: rig.status("slow")["status"] == "processing")
    before = children(supervisor.pid)  # now that both run
    supervisor.send_signal(signal.SIGHUP)

    assert rig.finished("slow")["attempts"] == 1
    assert supervisor.poll() is None and children(supervisor.pid) == before
