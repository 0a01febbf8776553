"""Room on the disk: how much there is, and some kept back for answers that are paid for already."""

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

log = logging.getLogger(__name__)

#: Kept back at most, and at most this part of the disk.
_SIZE, _SHARE = 32 * 2**20, 0.05


class DiskReserve:
    """
    A file that takes up room, to be dropped when an answer would not fit any more.

    Only a worker has one: new jobs are refused long before (RELAY_DISK_FLOOR), so what it makes room for are results.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def resize(self, floor: int) -> None:
        """Take the room up, where the disk has it to spare beyond `floor` bytes; nothing where it has not."""
        usage = shutil.disk_usage(self._path.parent)
        size = min(_SIZE, int(usage.total * _SHARE))
        if self._path.exists() or usage.free < size + min(floor, usage.total // 4):
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o660)
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def drop(self) -> bool:
        """Give it back; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        log.error("disk full: the ballast was dropped to store what is in hand", extra={"path": str(self._path)})

        return True


class DiskSpaceCheck:
    """Whether the disk under the store has more room than the floor; looked at no more than once a second."""

    def __init__(self, folder: Path, floor: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._floor, self._clock = folder, floor, clock
        self._lock = threading.Lock()
        self._looked_at, self._said = float("-inf"), None

    def __call__(self) -> str | None:
        """What is wrong with it, in words, or None."""
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= 1.0:
                self._looked_at, self._said = now, self._look()  # type: ignore[assignment]
            return self._said

    def _look(self) -> str | None:
        with contextlib.suppress(OSError):
            if (free := shutil.disk_usage(self._folder).free) < self._floor:
                floor = format_size(self._floor)
                return f"has {free // 2**20} MiB left, less than RELAY_DISK_FLOOR ({floor}): make room"

        return None
