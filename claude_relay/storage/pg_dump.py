"""Instructions for backup and restore of a PostgreSQL store; without the driver, as `backup` needs none."""

from __future__ import annotations

from pathlib import Path


def instructions(where: str, file: Path) -> str:
    """The server's own commands, which ask for the password or find it."""
    return (
        "The store is a PostgreSQL server, which has its own tools for backups. A copy, while everything runs:"
        f" pg_dump --format=custom --no-owner --file={file} '{where}' -- and back, the daemons stopped:"
        f" pg_restore --clean --if-exists --no-owner --single-transaction --dbname='{where}' {file}"
    )
