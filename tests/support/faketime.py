"""
A wall clock that a test sets while a process runs, through `libfaketime`; the monotonic clock stays real.

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
# The library's clock_nanosleep fails with a faked wall clock and a real monotonic one: sleep in another way.
_SLEEP = """
import threading, time
time.sleep = lambda seconds: threading.Event().wait(seconds) and None
"""


class FakeTime:
    """Environment of a process whose wall clock is `set` to an offset from the real one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        shim = folder / "shim"
        shim.mkdir()
        (shim / "sitecustomize.py").write_text(_SLEEP)
        self.by = 0.0
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "0",  # it is read once in each second
            "NO_FAKE_STAT": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{shim}:{_ROOT}",
        }

    def set(self, by: float, *pids: int) -> None:
        """
        Set the clock of these processes at the same moment, as a machine has one clock.

        A process that still used the old time while another has the new one would do what no real clock causes.
        """
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.by = by
            fresh = self._file.with_suffix(".new")
            fresh.write_text(f"{by:+.0f}\n")
            fresh.rename(self._file)
            this = int(time.time())
            while pids and int(time.time()) == this:  # then each reads it again before it does anything else
                time.sleep(0.01)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @staticmethod
    def fixed(by: float) -> dict[str, str]:
        """The environment of a program other than Python whose wall clock is off by so many seconds."""
        return {"LD_PRELOAD": str(_library()), "FAKETIME": f"{by:+.0f}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def now(self) -> float:
        """The current time of such a process."""
        return time.time() + self.by


def _library() -> Path:
    libraries = [path for place in _PLACES for path in Path("/").glob(place.lstrip("/"))]
    if not libraries:
        lacks("libfaketime is not installed: apt-get install faketime")
    return libraries[0]
