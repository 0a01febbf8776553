"""Jobs that match a filter, read for a bounded time where no index has them side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING

from ..core.filter_marks import asked_filters
from ..core.lazy_dataclass import dataclass
from ..core.search import NEWEST, Needle
from ..core.search_index import asked_marks, merge
from ..core.text.ids import earliest_ulid
from ..errors import StoreUnavailable

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.job_filter import JobFilter
    from ..ports import ReadTransaction

#: Rows that are read at once: few at first, as the newest ones match most often, and many where their columns decide.
_FIRST_STEP = 25
_STEP = 200
_ROWS_STEP = 2_000
#: Candidates that the index is asked for at once, at first and then, and how many texts of them are read together.
_FIRST_INDEX_STEP = 200
_INDEX_STEP = 5_000
_TEXTS_STEP = 25
#: The most events that the index may lack, for a text and for a list: the jobs of those are read.
_UNINDEXED, _UNLISTED = 10_000, 1_000
#: Rows that are read for one page where their columns decide; a candidate of the index counts for several.
MAX_ROWS, _CANDIDATE = 10_000, 4
#: Seconds after which a page ends with what was found, and a cursor to go on.
_TIME_LIMIT = 0.7
#: Searches of one process that run or wait; more are refused, so that requests of other kinds have threads.
_MAX_SEARCHES = 4


@dataclass(frozen=True, kw_only=True)
class _Step:
    """
    Jobs to look at together, newest first, and the work that it took to get them.

    `last`: the last id that was looked at; None after the last job.
    """

    job_ids: Sequence[str]
    last: str | None
    work: int


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
        end = self._clock() + _TIME_LIMIT
        oldest = tx.nth_newest(NEWEST) or "" if needle.short else ""
        for step in self._steps(tx, which, indexed=not needle.short, rows=_STEP):
            for job_id, request_id, request, outcome in tx.contents(step.job_ids):
                if job_id < oldest:
                    return page, None
                if needle.matches(request_id, request, outcome) and (job := tx.job(job_id)) is not None:
                    if len(page) == which.limit:
                        return page, page[-1].id
                    page.append(job)
                if self._clock() > end:
                    return page, job_id
            if step.last is None or step.last <= oldest:
                break
            if self._clock() > end:
                return page, step.last

        return page, None

    def _find_selective(self, tx: ReadTransaction, which: JobFilter) -> tuple[Sequence[Job], str | None]:
        page: list[Job] = []
        end, work = self._clock() + _TIME_LIMIT, 0
        for step in self._steps(tx, which, indexed=True, rows=_ROWS_STEP):
            for job_id in step.job_ids:
                if (job := tx.job(job_id)) is not None:
                    if len(page) == which.limit:
                        return page, page[-1].id
                    page.append(job)
            work += step.work
            if step.last is not None and (work >= MAX_ROWS or self._clock() > end):
                return page, step.last

        return page, None

    def _steps(self, tx: ReadTransaction, which: JobFilter, *, indexed: bool, rows: int) -> Iterator[_Step]:
        """
        Jobs that match all but the text, newest first.

        The first ones are the newest of all, as what is frequent is among them; then the index names the others, or
        so many rows at once are read.
        """
        cursor = yield from _read_rows(tx, which, which.before, (_FIRST_STEP, _STEP))
        lacking = _UNINDEXED if which.text else _UNLISTED
        if indexed and cursor is not None and (unindexed := tx.unindexed(limit=lacking)) is not None:
            cursor = yield from _named_by_index(tx, which, cursor, unindexed)
        if cursor is not None:
            yield from _read_rows(tx, which, cursor, repeat(rows))


def _read_rows(
    tx: ReadTransaction, which: JobFilter, cursor: str | None, counts: Iterable[int]
) -> Generator[_Step, None, str | None]:
    """Steps of so many rows below `cursor`; returns the last id, or None after the last job."""
    for count in counts:
        rows = tx.job_window(replace(which, before=cursor), count)
        cursor = rows[-1][0] if len(rows) == count else None
        yield _Step(job_ids=[job_id for job_id, matches in rows if matches], last=cursor, work=count)
        if cursor is None:
            break

    return cursor


def _named_by_index(
    tx: ReadTransaction, which: JobFilter, cursor: str, unindexed: Sequence[str]
) -> Generator[_Step, None, str | None]:
    """
    Candidates by the index, and the jobs that it lacks, to the end.

    Returns None, or the id from which the jobs have to be read all the same, as the index is damaged.
    """
    owner = which.key if which.owner is None else which.owner
    text_marks = asked_marks(which.text, owner) if which.text else ()
    alternatives = [(*text_marks, *marks) for marks in asked_filters(which)]
    together = _TEXTS_STEP if which.text else _STEP
    oldest = "" if which.since is None else earliest_ulid(which.since)
    limit = _FIRST_INDEX_STEP
    while True:
        named = [tx.search_candidates(marks, below=cursor, limit=limit) for marks in alternatives]
        if (found := [each for each in named if each is not None]) != named:
            return cursor
        job_ids, down_to = merge(*found, ([each for each in unindexed if each < cursor], None))
        for start in range(0, len(job_ids), together):
            some = job_ids[start : start + together]
            yield _Step(job_ids=tx.jobs_among(which, some), last=some[-1], work=_CANDIDATE * len(some))
        if down_to is None or down_to <= oldest:
            return None
        cursor, limit = down_to, _INDEX_STEP
