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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from persistqueue import Empty, SQLiteQueue
from persistqueue.serializers import json

from ..file_owner import give_to_owner

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Queue(SQLiteQueue):
    """The library's queue without fsync: the sweep finds ids that a power cut loses."""

    def _new_db_connection(self, path: str, multithreading: bool, timeout: float) -> sqlite3.Connection:
        file = Path(path) / self.db_file_name
        connection = sqlite3.connect(file, timeout=timeout, check_same_thread=not multithreading)
        # Overridden, as the library offers no setting for it. No WAL: the standard library's SQLite may have the bug
        # that corrupts a WAL used by several processes.
        connection.execute("PRAGMA synchronous = OFF")

        return connection


class DiskQueue:
    """Implements `ports.ReadyQueue` in a file beside the store. A broken file is set aside and replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue = self._open()
        self._rest: list[str] = []

    def put(self, job_ids: Sequence[str]) -> None:
        """Queue the ids. Never raises: the sweep finds lost ones."""
        if job_ids:
            self._safely(lambda: self._queue.put(list(job_ids)))

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
            self._queue.close()

    def _next(self) -> list[str] | None:
        try:
            item = self._queue.get(block=False)
        except Empty:
            return None

        return item if isinstance(item, list) else [str(item)]

    def _safely(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except sqlite3.OperationalError as exc:
            log.warning("ready queue busy", extra={"error": str(exc)})
        except (sqlite3.DatabaseError, ValueError) as exc:
            log.warning("ready queue broken, replaced", extra={"error": str(exc)})
            self.close()
            self._set_aside()
            self._queue = self._open()

        return None

    def _open(self) -> _Queue:
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

    def _connect(self) -> _Queue:
        folder, name = str(self._path.parent), self._path.name
        return _Queue(folder, "ready", multithreading=True, timeout=2.0, serializer=json, db_file_name=name)

    def _set_aside(self) -> None:
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(self._path.name + ".broken"))
