"""Jobs that match a filter, read for a bounded time where no index has them side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.search import NEWEST, Needle
from ..errors import StoreUnavailable

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.job_filter import JobFilter
    from ..ports import ReadTransaction

#: Jobs whose content is read at once: few at first, as the newest ones match most often.
_FIRST_STEP, _STEP = 25, 200
#: Jobs that are read at once, and for one page, where their columns decide.
_ROWS, MAX_ROWS = 2_000, 50_000
#: Seconds after which a page ends with what was found, and a cursor to go on.
_TIME_LIMIT = 0.7
#: Searches of one process that run or wait; more are refused, so that requests of other kinds have threads.
_MAX_SEARCHES = 4


class Search:
    """Searches one after the other, as each reads and folds as much as a core can."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places = threading.BoundedSemaphore(_MAX_SEARCHES)
        self._turn = threading.Lock()

    def find(self, tx: ReadTransaction, which: JobFilter) -> tuple[Sequence[Job], str | None]:
        """
        The newest jobs that match, and the cursor of the next page.

        With a text, or a filter that no index serves, a page may have fewer jobs than its limit, or none, although more
        follow: it took long enough.
        """
        if which.owner is not None and which.key not in (None, which.owner):
            return [], None
        if not which.text and which.selective:
            return self._find_selective(tx, which)
        if not which.text:
            rows = tx.jobs(replace(which, limit=which.limit + 1))
            return rows[: which.limit], rows[which.limit - 1].id if len(rows) > which.limit else None
        if not self._places.acquire(blocking=False):
            raise StoreUnavailable("other searches are running: try again in a moment", retry_after=2)
        try:
            with self._turn:
                return self._find_text(tx, which, Needle(which.text))
        finally:
            self._places.release()

    def _find_text(self, tx: ReadTransaction, which: JobFilter, needle: Needle) -> tuple[Sequence[Job], str | None]:
        found: list[Job] = []
        cursor, step, end = which.before, _FIRST_STEP, self._clock() + _TIME_LIMIT
        oldest = self._oldest(tx) if needle.short else ""
        while True:
            rows = tx.job_window(replace(which, before=cursor), step)
            for job_id, request_id, request, outcome in tx.contents([job_id for job_id, matches in rows if matches]):
                if job_id < oldest:
                    return found, None
                if needle.matches(request_id, request, outcome) and (job := tx.job(job_id)) is not None:
                    if len(found) == which.limit:
                        return found, found[-1].id
                    found.append(job)
                cursor = job_id
                if self._clock() > end:
                    return found, cursor
            if len(rows) < step or rows[-1][0] < oldest:
                return found, None
            cursor = rows[-1][0]
            if self._clock() > end:
                return found, cursor
            step = _STEP

    def _find_selective(self, tx: ReadTransaction, which: JobFilter) -> tuple[Sequence[Job], str | None]:
        found: list[Job] = []
        cursor, end = which.before, self._clock() + _TIME_LIMIT
        for _ in range(0, MAX_ROWS, _ROWS):
            rows = tx.job_window(replace(which, before=cursor), _ROWS)
            for job_id, matches in rows:
                if matches and (job := tx.job(job_id)) is not None:
                    if len(found) == which.limit:
                        return found, found[-1].id
                    found.append(job)
            if len(rows) < _ROWS:
                return found, None
            cursor = rows[-1][0]
            if self._clock() > end:
                break

        return found, cursor

    def _oldest(self, tx: ReadTransaction) -> str:
        """The last id of those that a short text is looked for in."""
        return tx.nth_newest(NEWEST) or ""
