"""Memory for large files: it is released, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude
from tests.support.receiver import Answer, Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process
MEGABYTE = 1_000_000


def memory(pid: int, name: str) -> int:
    """A memory figure of a process from the kernel, in bytes."""
    [line] = [item for item in Path(f"/proc/{pid}/status").read_text().splitlines() if item.startswith(name)]
    return int(line.split()[1]) * 1024


def test_a_worker_releases_the_memory_of_large_files(tmp_path: Path) -> None:
    """Six files of 20 MB: 120 MB of files, 160 MB as they are sent, and each is in memory in more than one form."""
    with FakeClaude() as upstream, Receiver() as upload_cache, Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"requestId": "warm", "prompt": "Hei"})
        rig.finished("warm")
        at_start = memory(rig.worker.pid, "VmRSS")
        upload_cache.answer("/a.pdf", Answer(body=b"%PDF-1.7\n" + b"x" * 20 * MEGABYTE))
        for n in range(6):
            rig.submit({"requestId": f"r-{n}", "prompt": "Les", "files": [{"url": upload_cache.url("/a.pdf")}]})
        for n in range(6):
            assert rig.finished(f"r-{n}", within=60)["status"] == "completed"

        assert memory(rig.worker.pid, "VmHWM") - at_start < 350 * MEGABYTE
        eventually(lambda: memory(rig.worker.pid, "VmRSS") - at_start < 100 * MEGABYTE)
