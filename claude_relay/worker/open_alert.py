"""The open alert about the store, in a file: a process that starts later sends the notice of its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path

from ..core.alerts import Alert

#: The file in the folder of this machine's state.
NAME = "alert.open"


class OpenAlert:
    """
    The file, which belongs to the process that has raised the alert for as long as it lives.

    Without a folder, or where nothing can be written, an alert is open in the memory of its process only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / NAME
        self._handle: int | None = None

    def write(self, alert: Alert) -> None:
        """Keep the alert for a later process, unless another one has written it."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            if not _lock(handle):
                os.close(handle)
                return
            os.truncate(handle, 0)
            os.pwrite(handle, json.dumps(asdict(alert)).encode(), 0)
            self._handle = handle

    def take(self) -> Alert | None:
        """The alert that this process has written, or one that has ended; it is open no longer."""
        if self._path is None or (self._handle is None and not self._path.exists()):
            return None
        handle, self._handle = self._handle, None
        try:
            if handle is None:
                handle = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            if not _lock(handle):
                return None
            alert = Alert(**json.loads(os.pread(handle, 64 * 1024, 0)))
            # A file that another process has taken meanwhile, or that was removed with its folder, ends nothing again.
            if os.fstat(handle).st_nlink == 0:
                return None
            self._path.unlink()
            return alert
        except (OSError, ValueError, TypeError):
            return None
        finally:
            if handle is not None:
                os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False

    return True
