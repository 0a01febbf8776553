"""Free space on the store's disk: a check against the floor, and a reserve for results that are paid for."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...core.text.sizes import format_size
from ...file_owner import give_to_owner

log = logging.getLogger(__name__)

#: The largest reserve, and the largest share of the disk.
_SIZE, _SHARE = 32 * 2**20, 0.05


class DiskReserve:
    """
    A file that occupies space, deleted when a result would not fit any more.

    Only a worker has one: new jobs are refused long before (RELAY_DISK_FLOOR), so the space is used for results.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def resize(self, floor: int) -> None:
        """Create the file if the disk has that much space beyond `floor` bytes; otherwise do nothing."""
        usage = shutil.disk_usage(self._path.parent)
        size = min(_SIZE, int(usage.total * _SHARE))
        if self._path.exists() or usage.free < size + min(floor, usage.total // 4):
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o660)
        give_to_owner(self._path)
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def drop(self) -> bool:
        """Delete the file; False without one."""
        try:
            self._path.unlink()
        except OSError:
            return False
        log.error("disk full: the disk reserve was dropped to store results", extra={"path": str(self._path)})

        return True


class DiskSpaceCheck:
    """Check of the free space under the store against a floor; it reads the disk at most once a second."""

    def __init__(self, folder: Path, floor: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._floor, self._clock = folder, floor, clock
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._problem: str | None = None

    def __call__(self) -> str | None:
        """The problem in words, or None."""
        with self._lock:
            now = self._clock()
            if now - self._checked_at >= 1.0:
                self._checked_at, self._problem = now, self._check()
            return self._problem

    def _check(self) -> str | None:
        with contextlib.suppress(OSError):
            if (free := shutil.disk_usage(self._folder).free) < self._floor:
                floor = format_size(self._floor)
                return f"has {free // 2**20} MiB left, less than RELAY_DISK_FLOOR ({floor}): make room"

        return None
