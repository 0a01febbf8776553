"""
A clock that a test sets while a process runs: `libfaketime` under it, its steady clock left alone.

    clock = FakeTime(tmp_path)
    with Rig(tmp_path, **clock.env) as rig:
        clock.set(+7200, rig.api.pid, rig.worker.pid)
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from .needs import lacks

_ROOT = Path(__file__).parents[2]
_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
# The library's clock_nanosleep cannot do with a faked calendar beside a real steady clock: sleep in another way.
_SLEEP = """
import threading, time
time.sleep = lambda seconds: threading.Event().wait(seconds) and None
"""


class FakeTime:
    """Settings for a process whose calendar is `set`, by seconds against the true one."""

    def __init__(self, folder: Path) -> None:
        found = [path for place in _PLACES for path in Path("/").glob(place.lstrip("/"))]
        if not found:
            lacks("libfaketime is not installed: apt-get install faketime")
        self._file = folder / "clock"
        shim = folder / "shim"
        shim.mkdir()
        (shim / "sitecustomize.py").write_text(_SLEEP)
        self.by = 0.0
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "0",  # it is read once in each second
            "NO_FAKE_STAT": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{shim}:{_ROOT}",
        }

    def set(self, by: float, *pids: int) -> None:
        """
        For these processes at the same moment, as a machine has one calendar: one that still wrote by the old one, when
        another has heard of the new, would do what no real clock brings about.
        """
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.by = by
            fresh = self._file.with_suffix(".new")
            fresh.write_text(f"{by:+.0f}\n")
            fresh.rename(self._file)
            this = int(time.time())
            while pids and int(time.time()) == this:  # then each reads it anew before it does anything else
                time.sleep(0.01)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def now(self) -> float:
        """What such a process takes the time to be."""
        return time.time() + self.by
