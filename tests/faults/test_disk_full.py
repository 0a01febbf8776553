"""A full disk: new jobs are refused, a paid answer is kept, and work resumes with free space."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.needs import lacks
from tests.support.rig import Rig

pytestmark = [pytest.mark.faults, pytest.mark.process]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        lacks("a small disk can only be mounted as root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Fill it to the last byte."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                out.write(b"x")
        except OSError:
            return file


def test_a_full_disk_loses_nothing_not_even_a_paid_answer(small_disk: Path) -> None:
    go_on = threading.Event()
    with FakeClaude() as upstream, Rig(small_disk, upstream=upstream.url, RELAY_DISK_FLOOR="4MiB") as rig:
        # 300 kB of answer, more than what the log has left over.
        upstream.when("paid", head(), started(), Wait(go_on), *written("å" * 150_000), *stopped())
        rig.start()
        ballast = small_disk / "store" / "relay.ballast"
        eventually(ballast.exists)
        assert rig.submit({"prompt": "paid", "requestId": "r-1"}).status_code == 202
        eventually(lambda: upstream.books)
        filler = fill(small_disk)

        def told_to_come_back() -> int | None:
            """In the first second the store itself may refuse; then the disk floor does."""
            answer = rig.submit({"prompt": "new"})
            by_floor = answer.status_code == 503 and "RELAY_DISK_FLOOR" in answer.json()["error"]
            return int(answer.headers["retry-after"]) if by_floor else None

        assert eventually(told_to_come_back) > 0
        assert ballast.exists()  # no other write has used up what is kept for a paid answer
        assert rig.http.get(f"{rig.url}/health/ready").status_code == 503

        go_on.set()
        assert rig.finished("r-1")["responseLength"] == 150_000
        assert not ballast.exists()
        assert sum("paid" in str(seen.body) for seen in upstream.books) == 1

        filler.unlink()
        eventually(lambda: rig.submit({"prompt": "after", "requestId": "r-2"}).status_code == 202)
        assert rig.finished("r-2")["status"] == "completed"


def test_a_locked_store_is_503_in_time_and_costs_no_answer(tmp_path: Path) -> None:
    """Another process has the lock: callers get a 503 within seconds, the worker keeps its result and stores it."""
    import apsw

    go_on = threading.Event()
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        upstream.when("paid", head(), started(), Wait(go_on), *written("Svar"), *stopped())
        rig.submit({"prompt": "paid", "requestId": "r-1"})
        eventually(lambda: upstream.books and rig.status("r-1")["status"] == "processing")
        other = apsw.Connection(str(tmp_path / "store" / "relay.db"))
        other.set_busy_timeout(5000)
        other.execute("BEGIN IMMEDIATE")
        go_on.set()
        refused = rig.submit({"prompt": "new"})

        assert (refused.status_code, refused.elapsed.total_seconds() < 30) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        assert rig.status("r-1")["status"] == "processing"
        other.execute("ROLLBACK")
        other.close()
        assert rig.finished("r-1")["status"] == "completed"
        assert sum("paid" in str(seen.body) for seen in upstream.books) == 1
