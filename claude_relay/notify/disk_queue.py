"""
The ready queue of one machine: ids of ready jobs in a file of persist-queue.

It may lose or repeat an id without harm (workers claim by compare-and-set, the sweep finds lost ones), and between
processes persist-queue promises no more. So: `SQLiteQueue`, never the Ack variant (a second opener would take its items
in flight); never a blocking `get` (it does not see another process's `put` for ten seconds); JSON, since the default
pickle would execute code from the file. An item is a list of ids.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..file_owner import give_to_owner

if TYPE_CHECKING:
    from .queue_file import QueueFile

T = TypeVar("T")
log = logging.getLogger(__name__)


class DiskQueue:
    """
    Implements `ports.ReadyQueue` in a file beside the store. A broken file is set aside and replaced.

    It is created at once and opened when it is first used: importing persist-queue takes as long as all of `status`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: QueueFile | None = None
        self._lock = threading.Lock()
        self._rest: list[str] = []
        self._create()  # now, while files are created for the store's group

    def put(self, job_ids: Sequence[str]) -> None:
        """Queue the ids. Never raises: the sweep finds lost ones."""
        if job_ids:
            self._safely(lambda: self._queue().put(list(job_ids)))

    def take(self, limit: int) -> Sequence[str]:
        """Take up to `limit` ids without waiting. The rest of an item is returned by the next call."""
        while len(self._rest) < limit:
            item = self._safely(self._next)
            if not item:
                break
            self._rest.extend(str(job_id) for job_id in item)
        taken, self._rest = self._rest[:limit], self._rest[limit:]

        return taken

    def listen(self, wake: Callable[[], None]) -> None:
        """Nothing: on one machine the wakeup socket notifies the workers."""

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            if self._opened is not None:
                self._opened.close()

    def _queue(self) -> QueueFile:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _next(self) -> list[str] | None:
        from .queue_file import Empty

        try:
            item = self._queue().get(block=False)
        except Empty:
            return None

        return item if isinstance(item, list) else [str(item)]

    def _safely(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except (sqlite3.OperationalError, OSError) as exc:  # busy, or its file cannot be opened now
            log.warning("ready queue busy", extra={"error": str(exc)})
        except (sqlite3.DatabaseError, ValueError) as exc:
            log.warning("ready queue broken, replaced", extra={"error": str(exc)})
            self.close()
            self._set_aside()
            self._opened = None

        return None

    def _open(self) -> QueueFile:
        self._create()
        try:
            return self._connect()
        except sqlite3.DatabaseError as exc:
            if isinstance(exc, sqlite3.OperationalError):
                raise
            log.warning("ready queue broken, replaced", extra={"error": str(exc)})
            self._set_aside()
            self._create()
            return self._connect()

    def _create(self) -> None:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o660))
        give_to_owner(self._path)

    def _connect(self) -> QueueFile:
        from .queue_file import connect

        return connect(self._path)

    def _set_aside(self) -> None:
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(self._path.name + ".broken"))
