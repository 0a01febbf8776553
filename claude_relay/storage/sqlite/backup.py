"""Backup of a store in use. `restore` puts one back."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from ...errors import Conflict
from .errors import translating


def write_copy(connection: apsw.Connection, target: Path) -> None:
    """
    Copy the store behind that connection to `target` while it is in use; complete and on disk when this returns.

    Raises `Conflict` if the file exists, `StoreUnavailable` if it cannot be written.
    """
    if target.exists():
        raise Conflict(f"{target} exists: it was not overwritten")
    partial = target.with_name(target.name + ".part")
    with translating(target, "the backup"):
        partial.unlink(missing_ok=True)
        connection.pragma("query_only", False)
        try:
            connection.execute("VACUUM INTO ?", (str(partial),))
        finally:
            connection.pragma("query_only", True)
        partial.chmod(0o640)
        for path in (partial, target.parent):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        partial.rename(target)
