"""A consistent copy of a store that is in use. How one is put back: `restore`."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from ...errors import Conflict
from .errors import translating


def write_copy(connection: apsw.Connection, target: Path) -> None:
    """
    Copy the store behind that connection to `target`, while work goes on; on disk, under its name, when this returns.

    Raises `Conflict` where there is a file already, `StoreUnavailable` when it cannot be written.
    """
    if target.exists():
        raise Conflict(f"{target} is there already: it was left as it is")
    half = target.with_name(target.name + ".part")
    with translating(target):
        half.unlink(missing_ok=True)
        connection.pragma("query_only", False)
        try:
            connection.execute("VACUUM INTO ?", (str(half),))
        finally:
            connection.pragma("query_only", True)
        half.chmod(0o640)
        for path in (half, target.parent):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        half.rename(target)


def backup_with_pg_dump(where: str, file: Path) -> str:
    """How a server's store is copied and put back: by its own tools, which ask for the password or find it."""
    return (
        "The store is a PostgreSQL server, which makes and takes its own backups. A copy, while everything runs:"
        f" pg_dump --format=custom --no-owner --file={file} '{where}' -- and back, the daemons stopped:"
        f" pg_restore --clean --if-exists --no-owner --single-transaction --dbname='{where}' {file}"
    )
