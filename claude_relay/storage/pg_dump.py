"""Instructions for backup and restore of a PostgreSQL store; without the driver, as `backup` needs none."""

from __future__ import annotations

import shlex
from pathlib import Path

_SERVER = "The store is a PostgreSQL server, which has its own tools for backups."
_SQLITE = b"SQLite format 3\x00"


def instructions(where: str, file: Path) -> str:
    """The server's own commands, which ask for the password or find it."""
    name = shlex.quote(str(file))

    return (
        f"{_SERVER} A copy, while everything runs: pg_dump --format=custom --no-owner --file={name} '{where}' -- and "
        f"back, the daemons stopped: {_restore(where, name)}"
    )


def restore_instructions(where: str, file: Path) -> str:
    """The command that restores that file; never the one that would overwrite it."""
    try:
        with file.open("rb") as backup:
            is_sqlite = backup.read(len(_SQLITE)) == _SQLITE
    except OSError:
        is_sqlite = False
    if is_sqlite:
        command = f"RELAY_STORE=sqlite:////path/of/another.db claude-relay restore {shlex.quote(str(file))}"
        return (
            f"{file} is the backup of a SQLite store, and RELAY_STORE names a PostgreSQL server: it cannot be restored "
            f"there. For its jobs: {command}"
        )

    return f"{_SERVER} With the daemons stopped: {_restore(where, shlex.quote(str(file)))}"


def _restore(where: str, name: str) -> str:
    return f"pg_restore --clean --if-exists --no-owner --single-transaction --dbname='{where}' {name}"
