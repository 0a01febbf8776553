"""Lock files that prove a worker alive: a free lock means a dead worker, whatever the clocks do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..file_owner import give_to_owner

_SUFFIX = ".lock"


class WorkerLocks:
    """
    The locks of the workers on this machine, as files in one folder.

    `shared`: other machines may have workers too, whose locks are not in this folder. Machines are told apart by their
    lock files and not by host name, which containers may have in common.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._folder = folder
        self.shared = shared
        self._handle: int | None = None

    def acquire(self, worker: str) -> None:
        """Take this worker's lock until the process ends."""
        folder, path = self._folder, self._path(worker)
        folder.mkdir(mode=0o770, parents=True, exist_ok=True)
        give_to_owner(folder)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
        give_to_owner(path)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self, worker: str) -> None:
        """Give up this worker's lock, when the worker stops."""
        if self._handle is not None:
            self.remove(worker)
            os.close(self._handle)
            self._handle = None

    def dead(self, worker: str) -> bool:
        """Whether that worker is certainly dead; of a worker on another machine only its leases can tell."""
        try:
            handle = os.open(self._path(worker), os.O_RDWR)
        except FileNotFoundError:
            return not self.shared
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)

        return True

    def remove(self, worker: str) -> None:
        """Delete the files of a dead worker: its lock and its wake-up socket."""
        for path in (self._path(worker), self._folder / f"{worker}.bell"):
            path.unlink(missing_ok=True)

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}{_SUFFIX}"
