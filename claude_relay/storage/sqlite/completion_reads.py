"""A short look into a store for the shell's completion: never waits, never writes, never complains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from ...core.jobs.job import UNFINISHED

#: Somebody has pressed a key and is looking at the screen: in milliseconds.
_PATIENCE = 200

NEWEST = "SELECT request_id, state FROM jobs ORDER BY id DESC LIMIT ?"
BY_PREFIX = "SELECT request_id, state FROM jobs WHERE request_id >= ? AND request_id < ? LIMIT ?"
# From one name to the next through the index: as many steps as there are groups, however many jobs they have.
GROUPS = """
WITH RECURSIVE used (name) AS (
    SELECT min(grp) FROM jobs UNION ALL SELECT (SELECT min(grp) FROM jobs WHERE grp > used.name) FROM used
    WHERE used.name IS NOT NULL
) SELECT name FROM used WHERE name IS NOT NULL UNION SELECT name FROM groups ORDER BY 1"""
KEYS = "SELECT name FROM keys WHERE revoked_at IS NULL ORDER BY name"

_UNFINISHED = ", ".join(f"'{state.value}'" for state in UNFINISHED)
_OPEN = f"""
SELECT (SELECT count(*) FROM jobs WHERE state IN ({_UNFINISHED}))
    + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))"""


def request_ids(path: Path, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """RequestIds that begin so, and their job's state; the newest where nothing is written yet."""
    if not prefix:
        return [(row[0], row[1]) for row in _look(path, NEWEST, (limit,))]

    return [(row[0], row[1]) for row in _look(path, BY_PREFIX, (prefix, prefix + "\U0010ffff", limit))]


def groups(path: Path) -> Sequence[str]:
    """The groups that jobs are in, or that somebody has set."""
    return [row[0] for row in _look(path, GROUPS, ())]


def key_names(path: Path) -> Sequence[str]:
    """The API keys that are not revoked."""
    return [row[0] for row in _look(path, KEYS, ())]


def unfinished(path: Path) -> int:
    """How many jobs and callbacks are still to be done; 0 where there is no store, or none that can be read."""
    found = _look(path, _OPEN, ())

    return int(found[0][0]) if found else 0


def schema(path: Path) -> int | None:
    """The number of the store's schema; None where there is no store, or none that can be read."""
    found = _look(path, "PRAGMA user_version", ())

    return int(found[0][0]) if found else None


def _look(path: Path, sql: str, args: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    if not path.exists():
        return []
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error:
        return []
    try:
        connection.set_busy_timeout(_PATIENCE)
        return connection.execute(sql, args).fetchall()
    except apsw.Error:
        return []
    finally:
        connection.close()
