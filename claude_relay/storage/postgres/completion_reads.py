"""Short reads of a server's store for shell completion: they hardly wait, never write, and return nothing on errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from ..sqlite import completion_reads
from . import connection
from .dialect import translate

#: Somebody pressed Tab and waits. In seconds (libpq allows no less than 2), and in milliseconds.
_CONNECT_TIMEOUT, _STATEMENT_TIMEOUT = "2", 300


def request_ids(url: str, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
    """RequestIds with that prefix and their job's state; the newest without a prefix."""
    if not prefix:
        return [(row[0], row[1]) for row in _read(url, completion_reads.NEWEST, (limit,))]

    return [(row[0], row[1]) for row in _read(url, completion_reads.BY_PREFIX, (prefix, prefix + "\U0010ffff", limit))]


def groups(url: str) -> Sequence[str]:
    """The groups with jobs or settings."""
    return [row[0] for row in _read(url, completion_reads.GROUPS, ())]


def key_names(url: str) -> Sequence[str]:
    """The API keys that are not revoked."""
    return [row[0] for row in _read(url, completion_reads.KEYS, ())]


def _read(url: str, sql: str, args: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    try:
        with connection.connect(url, connect_timeout=_CONNECT_TIMEOUT) as session:
            session.execute(f"SET statement_timeout = {_STATEMENT_TIMEOUT}")
            return session.execute(translate(sql), args).fetchall()
    except psycopg.Error:
        return []
