"""
Look-ups that are announced before they are made: one message to a distant server asks for all of them.

A use case names what it will read as a function over a `ReadTransaction`; here that runs without a database and only
records its statements. The rows are fetched as the transaction begins. A statement that is made later is answered from
them unless something written in between may have changed its rows: announcements never change a result.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import records

if TYPE_CHECKING:
    from .query import Rows

#: A statement and its values.
Lookup = tuple[str, tuple[Any, ...]]


class _TransactionTime(float):
    """The time of a transaction that has not begun: a value of a look-up that is announced."""


NOW = _TransactionTime("nan")

_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)")
# An UPDATE or DELETE of the rows of one key: these names are keys of their tables, or of what belongs to one.
_OF_ONE_KEY = re.compile(
    r"\bWHERE (?:id|job_id|delivery_id|scope|name|key) = \?(?: AND \w+ = \?)*(?: RETURNING [\w, ]+)?\s*\Z"
)
# A read of the rows of one key, which is its first value.
_READS_ONE_KEY = re.compile(r"[^?]*\b(?:id|job_id|delivery_id|request_id|name|key) = \?")
#: Internal ids have this length. A longer check would find the same rows; another such string costs one more trip.
_ID_LENGTH = 26
_ID, _REQUEST_ID = records.JOB.index("id"), records.JOB.index("request_id")
_OF_NEW_JOBS = ("jobs", "requests", "events")


def is_time(value: Any) -> bool:
    """Whether a value of a look-up stands for the time of the transaction."""
    return isinstance(value, _TransactionTime)


def is_read(sql: str) -> bool:
    """Whether the statement reads only."""
    return sql.lstrip().startswith(("SELECT", "WITH", "EXPLAIN"))


def has_key(lookup: Lookup) -> bool:
    """Whether it reads the rows of one key, which is its first value, rather than a whole table."""
    return _reads_one_key(lookup[0]) and isinstance(lookup[1][0], str)


class FetchedRows:
    """The rows of announced look-ups, each until a write may have changed them."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._rows: dict[Lookup, Rows] = {}
        self._by_key: dict[tuple[str, str], set[Lookup]] = {}  # by table and the first value or an id in the rows
        self._of_table: dict[str, set[Lookup]] = {}
        self._without_key: dict[str, set[Lookup]] = {}

    def put(self, lookups: Sequence[Lookup], rows: Sequence[Rows]) -> None:
        """Add the rows of those look-ups."""
        for lookup, fetched in zip(lookups, rows, strict=True):
            sql, args = lookup
            keys = [args[0]] if has_key(lookup) else []
            ids = [value for row in fetched for value in row if isinstance(value, str) and len(value) == _ID_LENGTH]
            self._rows[lookup] = fetched
            for table in _tables(sql):
                self._of_table.setdefault(table, set()).add(lookup)
                if not keys:
                    self._without_key.setdefault(table, set()).add(lookup)
                for key in (*keys, *ids) if keys else ():
                    self._by_key.setdefault((table, key), set()).add(lookup)

    def recall(self, sql: str, args: Sequence[Any]) -> Rows | None:
        """The rows of a statement, if it was announced and nothing has changed them."""
        if not self._rows:
            return None
        values = tuple(NOW if type(value) is float and value == self._now else value for value in args)

        return self._rows.get((sql, values))

    def forget(self, sql: str, args: Sequence[Any]) -> None:
        """Drop the rows that this write may change: of the keys among its strings, or of its whole table."""
        if not self._rows:
            return
        keys = [value for value in args if isinstance(value, str)] if _writes_one_key(sql) else None
        for table in _tables(sql):
            if table in self._of_table:
                self._forget(table, keys)

    def forget_new(self, job: Sequence[Any]) -> None:
        """Drop the rows that a new job changes."""
        for table in _OF_NEW_JOBS if self._rows else ():
            if table in self._of_table:
                self._forget(table, (job[_ID], job[_REQUEST_ID]))

    def _forget(self, table: str, keys: Sequence[str] | None) -> None:
        if keys is None:
            lost = self._of_table.pop(table, set())
        else:
            lost = self._without_key.pop(table, set()).union(*(self._by_key.get((table, key), ()) for key in keys))
        for lookup in lost:
            self._rows.pop(lookup, None)


@functools.lru_cache(maxsize=4096)
def _tables(sql: str) -> frozenset[str]:
    return frozenset(_TABLE.findall(sql))


@functools.lru_cache(maxsize=4096)
def _reads_one_key(sql: str) -> bool:
    return _READS_ONE_KEY.match(sql) is not None


@functools.lru_cache(maxsize=4096)
def _writes_one_key(sql: str) -> bool:
    if sql.lstrip().startswith("INSERT"):
        return "SELECT" not in sql

    return sql.count("WHERE") == 1 and _OF_ONE_KEY.search(sql) is not None
