"""Jobs that match a filter, read for a bounded time where no index has them side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

from ..core.filter_marks import asked_filters
from ..core.search import NEWEST, Needle
from ..core.search_index import asked_marks, merge
from ..core.text.ids import earliest_ulid
from ..errors import StoreUnavailable

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.job_filter import JobFilter
    from ..ports import ReadTransaction

#: Jobs whose content is read at once: few at first, as the newest ones match most often.
_FIRST_STEP, _STEP = 25, 200
#: Candidates that the index is asked for at once, at first and then, and how many of them are read together.
_CANDIDATES, _MORE_CANDIDATES, _TOGETHER = 200, 5_000, 25
#: The most events that the index may lack, for a text and for a list: the jobs of those are read.
_UNINDEXED, _UNLISTED = 10_000, 1_000
#: Jobs that are read at once, and for one page, where their columns decide; a candidate of the index counts for more.
_ROWS, MAX_ROWS, _CANDIDATE = 2_000, 10_000, 4
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

        With a text, or several filters, a page may have fewer jobs than its limit, or none, although more follow: it
        took long enough.
        """
        if which.owner is not None and which.key not in (None, which.owner):
            return [], None
        # The dead ones of a key have few others beside them, while the index of searches lacks too many jobs.
        few = which.dead and not which.narrow
        if not which.text and which.selective and not (few and tx.unindexed(limit=_UNLISTED) is None):
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
        page: list[Job] = []
        cursor, end = which.before, self._clock() + _TIME_LIMIT
        oldest = self._oldest(tx) if needle.short else ""
        for job_ids, last, _ in self._candidates(tx, which, indexed=not needle.short, step=_STEP):
            for job_id, request_id, request, outcome in tx.contents(job_ids):
                if job_id < oldest:
                    return page, None
                if needle.matches(request_id, request, outcome) and (job := tx.job(job_id)) is not None:
                    if len(page) == which.limit:
                        return page, page[-1].id
                    page.append(job)
                cursor = job_id
                if self._clock() > end:
                    return page, cursor
            if last is None or last < oldest:
                return page, None
            cursor = last
            if self._clock() > end:
                return page, cursor

        return page, None

    def _candidates(
        self, tx: ReadTransaction, which: JobFilter, *, indexed: bool, step: int
    ) -> Iterator[tuple[Sequence[str], str | None, int]]:
        """
        Jobs that match all but the text, newest first, in steps.

        Each step has their ids, the last id that was looked at, and the work that it took. The first ones are the
        newest of all, as what is frequent is among them; then the index names the others. None for the last id: there
        are no more.
        """
        cursor = which.before
        for rows_read in chain((_FIRST_STEP,), (_STEP,) if indexed else (), repeat(step)):
            rows = tx.job_window(replace(which, before=cursor), rows_read)
            last = None if len(rows) < rows_read else rows[-1][0]
            yield [job_id for job_id, matches in rows if matches], last, rows_read
            if last is None:
                return
            lacking = _UNINDEXED if which.text else _UNLISTED
            if indexed and rows_read != _FIRST_STEP and (unindexed := tx.unindexed(limit=lacking)) is not None:
                last = yield from _named_by_index(tx, replace(which, before=last), unindexed)
                if last is None:
                    return
                indexed = False
            cursor = last

    def _find_selective(self, tx: ReadTransaction, which: JobFilter) -> tuple[Sequence[Job], str | None]:
        page: list[Job] = []
        cursor, end, work = which.before, self._clock() + _TIME_LIMIT, 0
        for job_ids, last, more in self._candidates(tx, which, indexed=True, step=_ROWS):
            for job_id in job_ids:
                if (job := tx.job(job_id)) is not None:
                    if len(page) == which.limit:
                        return page, page[-1].id
                    page.append(job)
            if last is None:
                return page, None
            cursor, work = last, work + more
            if work >= MAX_ROWS or self._clock() > end:
                break

        return page, cursor

    def _oldest(self, tx: ReadTransaction) -> str:
        """The last id of those that a short text is looked for in."""
        return tx.nth_newest(NEWEST) or ""


def _named_by_index(
    tx: ReadTransaction, which: JobFilter, unindexed: Sequence[str]
) -> Generator[tuple[Sequence[str], str | None, int], None, str | None]:
    """
    Candidates by the index, and the jobs that it lacks, to the end.

    Returns None, or the id from which the jobs have to be read all the same, as the index is damaged.
    """
    owner = which.key if which.owner is None else which.owner
    text_marks = asked_marks(which.text, owner) if which.text else ()
    alternatives = [(*text_marks, *marks) for marks in asked_filters(which)]
    together = _TOGETHER if which.text else _STEP
    oldest = "" if which.since is None else earliest_ulid(which.since)
    cursor, limit = which.before or "", _CANDIDATES
    while True:
        named = [tx.search_candidates(marks, below=cursor, limit=limit) for marks in alternatives]
        if (found := [each for each in named if each is not None]) != named:
            return cursor
        job_ids, down_to = merge(*found, ([each for each in unindexed if each < cursor], None))
        for start in range(0, len(job_ids), together):
            some = job_ids[start : start + together]
            yield tx.jobs_among(which, some), some[-1], _CANDIDATE * len(some)
        if down_to is None or down_to <= oldest:
            yield [], None, 0
            return None
        cursor, limit = down_to, _MORE_CANDIDATES
