"""A short look into a server's store for the shell's completion: hardly waits, never writes, never complains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from ..sqlite import completion_reads
from . import connection
from .dialect import translate

#: Somebody has pressed a key and is looking at the screen. In seconds (libpq knows no less than 2), and milliseconds.
_CONNECT, _PATIENCE = "2", 300


def request_ids(url: str, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """RequestIds that begin so, and their job's state; the newest where nothing is written yet."""
    if not prefix:
        return [(row[0], row[1]) for row in _look(url, completion_reads.NEWEST, (limit,))]

    return [(row[0], row[1]) for row in _look(url, completion_reads.BY_PREFIX, (prefix, prefix + "\U0010ffff", limit))]


def groups(url: str) -> Sequence[str]:
    """The groups that jobs are in, or that somebody has set."""
    return [row[0] for row in _look(url, completion_reads.GROUPS, ())]


def key_names(url: str) -> Sequence[str]:
    """The API keys that are not revoked."""
    return [row[0] for row in _look(url, completion_reads.KEYS, ())]


def _look(url: str, sql: str, args: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    try:
        with connection.connect(url, connect_timeout=_CONNECT) as session:
            session.execute(f"SET statement_timeout = {_PATIENCE}")
            return session.execute(translate(sql), args).fetchall()
    except psycopg.Error:
        return []
