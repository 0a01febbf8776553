"""Short reads of a store for shell completion: they never wait long, never write, and return nothing on errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from ...core.jobs.job import UNFINISHED

#: Somebody pressed Tab and waits, in milliseconds.
_TIMEOUT = 200

NEWEST = "SELECT request_id, state FROM jobs ORDER BY id DESC LIMIT ?"
BY_PREFIX = "SELECT request_id, state FROM jobs WHERE request_id >= ? AND request_id < ? LIMIT ?"
# Steps from one name to the next in the index: as many steps as there are groups, however many jobs they have.
GROUPS = """
WITH RECURSIVE used (name) AS (
    SELECT min(grp) FROM jobs UNION ALL SELECT (SELECT min(grp) FROM jobs WHERE grp > used.name) FROM used
    WHERE used.name IS NOT NULL
) SELECT name FROM used WHERE name IS NOT NULL UNION SELECT name FROM groups ORDER BY 1"""
KEYS = "SELECT name FROM keys WHERE revoked_at IS NULL ORDER BY name"

_UNFINISHED = ", ".join(f"'{state.value}'" for state in UNFINISHED)
_OPEN = f"""
SELECT (SELECT count(*) FROM jobs WHERE state IN ({_UNFINISHED}) AND state <> 'running')
    + (SELECT count(*) FROM jobs WHERE state = 'running')
    + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))"""


def request_ids(path: Path, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """RequestIds with that prefix and their job's state; the newest without a prefix."""
    if not prefix:
        return [(row[0], row[1]) for row in _read(path, NEWEST, (limit,))]

    return [(row[0], row[1]) for row in _read(path, BY_PREFIX, (prefix, prefix + "\U0010ffff", limit))]


def groups(path: Path) -> Sequence[str]:
    """The groups with jobs or settings."""
    return [row[0] for row in _read(path, GROUPS, ())]


def key_names(path: Path) -> Sequence[str]:
    """The API keys that are not revoked."""
    return [row[0] for row in _read(path, KEYS, ())]


def unfinished(path: Path) -> int:
    """The number of unfinished jobs and callbacks; 0 without a readable store."""
    rows = _read(path, _OPEN, ())

    return int(rows[0][0]) if rows else 0


def schema(path: Path) -> int | None:
    """The store's schema version; None without a readable store."""
    rows = _read(path, "PRAGMA user_version", ())

    return int(rows[0][0]) if rows else None


def _read(path: Path, sql: str, args: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    if not path.exists():
        return []
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error:
        return []
    try:
        connection.set_busy_timeout(_TIMEOUT)
        return connection.execute(sql, args).fetchall()
    except apsw.Error:
        return []
    finally:
        connection.close()
