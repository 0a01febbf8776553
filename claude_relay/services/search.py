"""Jobs that match a filter; with a text, found step by step and for a bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..core.jobs.job import Job
from ..core.jobs.job_filter import JobFilter
from ..core.search import NEWEST, Needle
from ..errors import StoreUnavailable
from ..ports import ReadTransaction

#: Jobs whose content is read at once: few at first, as the newest ones match most often.
_FIRST_STEP, _STEP = 25, 200
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

        With a text a page may have fewer jobs than its limit, or none, although more follow: it took long enough.
        """
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
            ids = tx.job_ids(replace(which, text=None, before=cursor, limit=step))
            for job_id, request_id, request, outcome in tx.contents(ids):
                if job_id < oldest:
                    return found, None
                if needle.matches(request_id, request, outcome) and (job := tx.job(job_id)) is not None:
                    if len(found) == which.limit:
                        return found, found[-1].id
                    found.append(job)
                cursor = job_id
                if self._clock() > end:
                    return found, cursor
            if len(ids) < step:
                return found, None
            step = _STEP

    def _oldest(self, tx: ReadTransaction) -> str:
        """The last id of those that a short text is looked for in."""
        return tx.nth_newest(NEWEST) or ""
