"""A lock a worker, held for life: a free lock proves a death at once, whatever the clocks do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_SUFFIX = ".lock"


class Locks:
    """The locks of the workers on this machine, as files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: int | None = None

    def hold(self, worker: str) -> None:
        """Take this worker's own, until the process ends."""
        folder, path = self._folder, self._path(worker)
        folder.mkdir(mode=0o770, parents=True, exist_ok=True)
        self._mine = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
        fcntl.flock(self._mine, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self, worker: str) -> None:
        """Give it up, at the end."""
        if self._mine is not None:
            self.remove(worker)
            os.close(self._mine)
            self._mine = None

    def dead(self, worker: str) -> bool:
        """Whether nobody holds that worker's lock."""
        try:
            handle = os.open(self._path(worker), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)

        return True

    def remove(self, worker: str) -> None:
        """Clear away what a dead worker left: its lock and its bell."""
        for path in (self._path(worker), self._folder / f"{worker}.bell"):
            path.unlink(missing_ok=True)

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}{_SUFFIX}"
