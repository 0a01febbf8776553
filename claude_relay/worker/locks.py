"""A lock a worker, held for life: a free lock proves a death at once, whatever the clocks do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import Conflict

_SUFFIX = ".lock"


class InstanceLocks:
    """
    The locks of the workers on this machine, as files in one folder.

    `shared`: there may be workers elsewhere, of which nothing is here. Machines are told apart by this and not by their
    names, which containers may have in common.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._folder = folder
        self.shared = shared
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
        """Whether it is certain that nobody holds that worker's lock; of one elsewhere its leases alone tell."""
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
        """Clear away what a dead worker left: its lock and its bell."""
        for path in (self._path(worker), self._folder / f"{worker}.bell"):
            path.unlink(missing_ok=True)

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}{_SUFFIX}"


class InstanceLock:
    """
    What an instance is called, as a lock for life: there is one worker of a name at a time.

    A lock belongs to the open file, which the next generation inherits: so a name is handed on without being free in
    between. Raises `Conflict` where another worker has it. Without a name, nothing is locked.
    """

    def __init__(self, folder: Path, name: str | None, *, inherited: int | None = None) -> None:
        self.handle = inherited
        if self.handle is None and name is not None:
            self.handle = self._lock(folder, name)
        if self.handle is not None:
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, f"{os.getpid()}\n".encode(), 0)

    def let_go(self) -> None:
        """At the end, or once the next generation holds it too."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def _lock(self, folder: Path, name: str) -> int:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(folder / f"{name}.name", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise Conflict(
                f"a worker called {name} runs already (process {other or 'unknown'}): stop that one, "
                f"or give this one another --name."
            ) from None

        return handle
