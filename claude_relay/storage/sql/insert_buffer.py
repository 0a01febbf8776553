"""
A buffer for the new jobs of one transaction, which are inserted together.

Every statement releases the interpreter lock and must win it back from dozens of threads, so that one statement for
thirty jobs is much cheaper than ninety (*measured*: the accept path, at 16 connections).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import money, records, tallies
from .lookahead import FetchedRows, is_read

if TYPE_CHECKING:
    from .query import Rows, Run

#: A job, its request and its first event: one row for each of `TABLES`.
NewRows = tuple[Sequence[Any], Sequence[Any], Sequence[Any]]

TABLES = {
    "jobs": records.JOB,
    "requests": records.REQUEST,
    "events": "job_id subject version at name detail".split(),
}

#: Jobs in one statement: SQLite accepts 32,766 values.
_MAX_JOBS = 200


class InsertBuffer:
    """Rows that are not written yet. Other statements flush them first, except for look-ups that were announced."""

    def __init__(
        self, run: Run, write: Callable[[Sequence[NewRows]], None], fetched: FetchedRows, *, part: str = ""
    ) -> None:
        self._run, self._write = run, write
        self._fetched, self._part = fetched, part
        self._new: list[NewRows] = []
        self.changes: Counter[tallies.Number] = Counter()  # of the numbers of jobs and deliveries
        self.spend: money.Spend = {}  # of the calls that ended
        self.events: list[Sequence[Any]] = []  # of jobs that are not new

    def add(self, job: Sequence[Any], request: Sequence[Any], event: Sequence[Any]) -> None:
        """Add a job, its request and its first event."""
        self._fetched.forget_new(job)
        self._new.append((job, request, event))
        if len(self._new) >= _MAX_JOBS:
            self.flush()

    def drop(self) -> None:
        """Discard the rows and the sums of a function that failed."""
        self._new = []
        self.changes.clear()
        self.spend.clear()
        self.events.clear()

    def drain(self) -> Sequence[NewRows]:
        """Hand the remaining rows to the caller, who writes them."""
        rows, self._new = self._new, []

        return rows

    def drain_changes(self) -> Sequence[tuple[Any, ...]]:
        """Hand over the rows of the numbers that changed."""
        rows = tallies.rows(self.changes)
        self.changes.clear()

        return rows

    def flush_changes(self) -> None:
        """Write the numbers that changed."""
        if rows := self.drain_changes():
            self._run(tallies.insert(len(rows)), [value for row in rows for value in row])

    def flush_rest(self) -> None:
        """Write the events, and the sums of what calls cost."""
        self._flush_events()
        self._flush_spend()

    def _flush_events(self) -> None:
        events = self.events[:]
        self.events.clear()
        for first in range(0, len(events), _MAX_JOBS):
            rows = events[first : first + _MAX_JOBS]
            self._write_buffered(_insert("events", len(rows)), [value for row in rows for value in row])

    def _flush_spend(self) -> None:
        rows = money.spend_rows(self.spend, self._part)
        self.spend.clear()
        for sql, args in rows:
            self._write_buffered(sql, args)

    def _write_buffered(self, sql: str, args: Sequence[Any]) -> None:
        self._fetched.forget(sql, args)
        self._run(sql, args)

    def flush(self) -> None:
        """Write the rows now. Raises the database's error for any of them, and then none is written."""
        if rows := self.drain():
            self._write(rows)

    def run_after_flush(self, sql: str, args: Sequence[Any]) -> Rows:
        """Run another statement, which may read the new rows or reference them."""
        if self.spend and "costs" in sql:
            self._flush_spend()
        if self.events and "events" in sql:
            self.flush()  # the jobs that they belong to
            self._flush_events()
        if is_read(sql):
            if (rows := self._fetched.recall(sql, args)) is not None:
                return rows
            if "tallies" in sql:
                self.flush_changes()
        else:
            self._fetched.forget(sql, args)
        self.flush()

        return self._run(sql, args)


def insert(run: Run, new: Sequence[NewRows]) -> None:
    """Insert those rows with one statement per table."""
    for number, table in enumerate(TABLES):
        run(_insert(table, len(new)), [value for rows in new for value in rows[number]])


@functools.lru_cache(maxsize=3 * _MAX_JOBS)
def _insert(table: str, count: int) -> str:
    """Cached: the statement is as long as its rows."""
    return records.insert(table, TABLES[table], count)
