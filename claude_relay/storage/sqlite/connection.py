"""Connections to a store's file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import apsw

#: How long a write waits for another process's lock, in seconds: an HTTP request must not wait for much longer.
BUSY_TIMEOUT = 2.5


def connect(path: Path, *, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
    """Open a connection with the settings that all of them have."""
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(int(BUSY_TIMEOUT * 1000))
    connection.pragma("foreign_keys", True)
    connection.pragma("cell_size_check", True)  # a damaged page is an error, and not another content
    connection.pragma("secure_delete", True)  # purged content is overwritten in the file
    connection.pragma("temp_store", "memory")

    return connection


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time create and migrate: the switch to WAL does not wait for a busy file."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o660)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
