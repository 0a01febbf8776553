"""
New jobs of one transaction, kept back to go in together.

Every statement lets go of the interpreter and must win it back from dozens of threads, so that one statement for
thirty jobs is worth a good deal more than ninety (*measured*: the accept path, at 16 connections).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import records
from .query import Rows, Run

#: A job, what was asked, and that it was submitted: a row of each of `TABLES`.
NewRows = tuple[Sequence[Any], Sequence[Any], Sequence[Any]]

TABLES = {
    "jobs": records.JOB,
    "requests": records.REQUEST,
    "events": "job_id subject version at name detail".split(),
}

#: Jobs in one statement: SQLite takes 32,766 values.
_MOST = 200


class InsertBuffer:
    """Rows that are not written yet. Whoever is about to read or write anything else has them written first."""

    def __init__(self, run: Run, write: Callable[[Sequence[NewRows]], None]) -> None:
        self._run, self._write = run, write
        self._new: list[NewRows] = []

    def add(self, job: Sequence[Any], request: Sequence[Any], event: Sequence[Any]) -> None:
        """A job, what was asked, and that it was submitted."""
        self._new.append((job, request, event))
        if len(self._new) >= _MOST:
            self.write()

    def drop(self) -> None:
        """Not at all: their move has failed."""
        self._new = []

    def drain(self) -> Sequence[NewRows]:
        """What is left to write, which is the caller's now."""
        rest, self._new = self._new, []

        return rest

    def write(self) -> None:
        """Now. Raises what the database says of any of them; then none is there."""
        if rest := self.drain():
            self._write(rest)

    def run_after_flush(self, sql: str, args: Sequence[Any]) -> Rows:
        """Another statement, which may look for them or stand on them."""
        self.write()

        return self._run(sql, args)


def insert(run: Run, new: Sequence[NewRows]) -> None:
    """Those rows, a statement for each table."""
    for number, table in enumerate(TABLES):
        run(_insert(table, len(new)), [value for one in new for value in one[number]])


@functools.lru_cache(maxsize=3 * _MOST)
def _insert(table: str, count: int) -> str:
    """Put together once: it is as long as what it writes."""
    return records.insert(table, TABLES[table], count)
