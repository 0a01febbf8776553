"""Shared SQL for SQLite: index hints become INDEXED BY, which fails if the index is missing or cannot serve."""

from __future__ import annotations

import functools
import re

_HINT = re.compile(r"/\* index: (\w+) \*/")
_REINDEX = re.compile(r"SELECT 1 /\* reindex: (\w+) \*/")
_LONG = re.compile(r"/\* long: (\w+)\.(\w+) \*/")


@functools.lru_cache(maxsize=4096)
def translate(sql: str) -> str:
    """The statement with INDEXED BY for its hints; cached, as there are some hundreds of statements."""
    return _HINT.sub(r"INDEXED BY \1", _REINDEX.sub(r"REINDEX \1", sql))


@functools.lru_cache(maxsize=4096)
def long_column(sql: str) -> tuple[str, str] | None:
    """Table and column of the last argument of an INSERT, where it may have many megabytes."""
    return (found[1], found[2]) if (found := _LONG.search(sql)) else None
