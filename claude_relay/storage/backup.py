"""A consistent copy of a store that is in use. How one is put back: `restore`."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from ..errors import Conflict
from .faults import plainly


def write_copy(connection: apsw.Connection, target: Path) -> None:
    """
    Copy the store behind that connection to `target`, while work goes on; on disk, under its name, when this returns.

    Raises `Conflict` where there is a file already, `StoreUnavailable` when it cannot be written.
    """
    if target.exists():
        raise Conflict(f"{target} is there already: it was left as it is")
    half = target.with_name(target.name + ".part")
    with plainly(target):
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
