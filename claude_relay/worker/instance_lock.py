"""Lock on the name of a worker instance: one worker of a name at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import Conflict
from ..file_owner import give_to_owner


class InstanceLock:
    """
    The lock on an instance name, held for the life of the process.

    A lock belongs to the open file, which the next generation inherits: a name is handed on without being free in
    between. Raises `Conflict` when another worker has the name. Without a name, nothing is locked.
    """

    def __init__(self, folder: Path, name: str | None, *, inherited: int | None = None) -> None:
        self.handle = inherited
        if self.handle is None and name is not None:
            self.handle = self._lock(folder, name)
        if self.handle is not None:
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the name, when the worker stops or once the next generation holds it too."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def _lock(self, folder: Path, name: str) -> int:
        folder.mkdir(mode=0o770, parents=True, exist_ok=True)
        give_to_owner(folder)
        handle = os.open(folder / f"{name}.name", os.O_RDWR | os.O_CREAT, 0o660)
        give_to_owner(folder / f"{name}.name")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise Conflict(
                f"a worker named {name} is already running (process {other or 'unknown'}): stop it, "
                f"or give this one another --name."
            ) from None

        return handle
