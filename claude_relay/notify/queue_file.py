"""The file of the ready queue: persist-queue's, opened as `DiskQueue` needs it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from persistqueue import Empty, SQLiteQueue
from persistqueue.serializers import json

__all__ = ["Empty", "QueueFile"]


class QueueFile(SQLiteQueue):
    """The library's queue without fsync: the sweep finds ids that a power cut loses."""

    def _new_db_connection(self, path: str, multithreading: bool, timeout: float) -> sqlite3.Connection:
        file = Path(path) / self.db_file_name
        connection = sqlite3.connect(file, timeout=timeout, check_same_thread=not multithreading)
        # Overridden, as the library offers no setting for it. No WAL: the standard library's SQLite may have the bug
        # that corrupts a WAL used by several processes.
        connection.execute("PRAGMA synchronous = OFF")
        # A rollback file for each change was half of its time. A process that is killed in mid-write may leave a broken
        # file, which is replaced like any other.
        connection.execute("PRAGMA journal_mode = MEMORY")
        # An id is put at one end and taken from the other: a cache of SQLite's 2 MB would fill while no worker runs.
        connection.execute("PRAGMA cache_size = -128")

        return connection


def connect(path: Path) -> QueueFile:
    """Open the queue in that file."""
    return QueueFile(
        str(path.parent), "ready", multithreading=True, timeout=2.0, serializer=json, db_file_name=path.name
    )
