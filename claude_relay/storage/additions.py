"""
New jobs of one transaction, kept back to go in together.

Every statement lets go of the interpreter and must win it back from dozens of threads, so three statements for thirty
jobs are worth a good deal more than ninety (*measured*: the accept path, at 16 connections).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from . import rows
from .asking import Rows, Run

_EVENT = "job_id subject version at name detail".split()
_TABLES = {"jobs": rows.JOB, "requests": rows.REQUEST, "events": _EVENT}

#: Rows in one statement: SQLite takes 32,766 values.
_MOST = 200


class Additions:
    """Rows that are not written yet. Whoever is about to read or write anything else has them written first."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._jobs: list[Any] = []
        self._requests: list[Any] = []
        self._events: list[Any] = []
        self._count = 0

    def add(self, job: Sequence[Any], request: Sequence[Any], event: Sequence[Any]) -> None:
        """A job, what was asked, and that it was submitted."""
        self._jobs += job
        self._requests += request
        self._events += event
        self._count += 1
        if self._count >= _MOST:
            self.write()

    def drop(self) -> None:
        """Not at all: their move has failed."""
        self._jobs, self._requests, self._events, self._count = [], [], [], 0

    def write(self) -> None:
        """Now. Raises what the database says of any of them; then none is there."""
        if self._count:
            kept, count = (self._jobs, self._requests, self._events), self._count
            self.drop()
            for table, values in zip(_TABLES, kept, strict=True):
                self._run(_insert(table, count), values)

    def then(self, sql: str, args: Sequence[Any]) -> Rows:
        """Another statement, which may look for them or stand on them."""
        self.write()

        return self._run(sql, args)


@functools.lru_cache(maxsize=3 * _MOST)
def _insert(table: str, count: int) -> str:
    """Put together once: it is as long as what it writes."""
    return rows.insert(table, _TABLES[table], count)
