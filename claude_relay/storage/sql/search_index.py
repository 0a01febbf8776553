"""
The search index: entries by number, which sorts by the time of the job.

It is filled from the events by a worker, so that it lacks the jobs of the last second. Only a search and that worker
touch `search_docs`; a purge notes the number of the entry to delete.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...core.deliveries.delivery import DeliveryState
from ...core.filter_marks import Facts
from ...core.jobs.events import EventName
from ...core.jobs.job import Retain, State
from ...core.search_index import (
    ERA_JOBS,
    MOVED,
    NUMBERS_PER_TICK,
    Entry,
    Era,
    Indexable,
    end_before,
    first_id,
    first_number,
    merge,
    next_era,
)
from ...errors import Damaged
from .query import QueryBase, Row, placeholders

#: The events after which the texts of a job may be others, or what filters ask for: state, model, and its delivery.
_CHANGES = tuple(
    name.value
    for name in (
        EventName.SUBMITTED,
        EventName.RETRIED,
        EventName.COMPLETED,
        EventName.FAILED,
        EventName.CANCELLED,
        EventName.LATE_RESULT,
        EventName.HELD,
        EventName.SWITCHED,
        EventName.DELIVERY_DEAD,
        EventName.REDELIVERED,
    )
)
_CHANGED = f"name IN ({placeholders(_CHANGES)})"
# PostgreSQL has statements of its own for these two, in `postgres/dialect.py`: SQLite's entries are texts, in order.
ADD_ENTRY = "INSERT INTO search_docs (rowid, marks) VALUES (?, ?)"
NUMBERS = """
SELECT rowid FROM search_docs WHERE search_docs MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"""
_OPAQUE = """
SELECT job_id FROM search_jobs /* index: search_opaque */ WHERE opaque = 1 AND job_id < ?
ORDER BY job_id DESC LIMIT ?"""
_UNINDEXED = f"""
SELECT DISTINCT job_id FROM (
    SELECT job_id, name FROM events WHERE seq > ? ORDER BY seq LIMIT ?
) AS latest WHERE {_CHANGED}"""
_INDEXABLE = """
SELECT j.id, j.owner, j.request_id, j.retain, (SELECT r.request FROM requests r WHERE r.job_id = j.id),
       (SELECT o.body FROM outcomes o WHERE o.job_id = j.id AND o.run = j.run),
       j.grp, j.model, j.state, j.error_type, d.destination, d.state
FROM jobs j LEFT JOIN deliveries d ON d.job_id = j.id AND d.run = j.run WHERE j.id IN"""
_TEXT_SIZES = """
SELECT j.id, coalesce((SELECT octet_length(r.request) FROM requests r WHERE r.job_id = j.id), 0)
           + coalesce((SELECT octet_length(o.body) FROM outcomes o WHERE o.job_id = j.id AND o.run = j.run), 0)
FROM jobs j WHERE j.id IN"""
_ERASED = len("{}")  # bytes of an erased request
_SIZES = """
SELECT j.id, coalesce((SELECT octet_length(r.request) FROM requests r WHERE r.job_id = j.id), 0)
FROM jobs j WHERE j.id IN"""
_FREE = """
SELECT coalesce(max(no) + 1, ?) FROM (
    SELECT no FROM search_jobs WHERE no >= ? AND no < ? UNION ALL SELECT no FROM search_gone WHERE no >= ? AND no < ?
) AS taken"""
# The first era, if all its jobs are gone: the second one is the first from then on. Its jobs have a higher mark.
_JOIN_ERAS = (
    """DELETE FROM search_eras WHERE first = 0
       AND EXISTS (SELECT 1 FROM search_eras WHERE first > 0)
       AND NOT EXISTS (
           SELECT 1 FROM search_jobs WHERE no < (SELECT min(e.first) FROM search_eras e WHERE e.first > 0))""",
    """UPDATE search_eras SET first = 0
       WHERE first > 0 AND first = (SELECT min(e.first) FROM search_eras e)""",
)
_SET_POSITION = """
INSERT INTO search_position (id, seq) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq"""


class SearchIndexReads(QueryBase):
    """Implements `ports.search_index.SearchIndexReads`."""

    #: A standby of PostgreSQL has no index.
    has_search_index = True

    def search_candidates(
        self, marks: Collection[int], *, below: str, limit: int
    ) -> tuple[Sequence[str], str | None] | None:
        """
        The newest jobs before that id whose entries have those marks, and the id down to which these are all.

        About `limit` of them: jobs of one moment come together. The id is None where no more follow, and all is None
        where the index is damaged.
        """
        opaque = [row[0] for row in self._run(_OPAQUE, (below, limit))]
        try:
            numbers, down_to = self._matching_numbers(" ".join(map(str, marks)), below, limit)
        except Damaged:
            return None
        sql = f"SELECT job_id FROM search_jobs WHERE no IN ({placeholders(numbers)})"
        ids = [row[0] for row in self._run(sql, numbers)] if numbers else []
        last_opaque = opaque[-1] if len(opaque) == limit else None

        return merge(([each for each in ids if each < below], down_to), (opaque, last_opaque))

    def unindexed(self, *, limit: int) -> Sequence[str] | None:
        """The jobs that may have changed since they were indexed; None where that are too many to read."""
        if not self.has_search_index:
            return None
        position = self.search_position()
        if self._run("SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?", (position, limit)):
            return None

        return [row[0] for row in self._run(_UNINDEXED, (position, limit, *_CHANGES))]

    def search_position(self) -> int:
        """The last event that the index has; 0 for an empty index."""
        return self._count("SELECT seq FROM search_position")

    def texts_changed(self, *, after: int, limit: int) -> tuple[Sequence[tuple[int, str]], int]:
        """
        Jobs whose texts changed by the next `limit` events, and the last event that was read.

        As (event, job). Jobs that change again later are left out: they are indexed then.
        """
        sql = "SELECT seq, job_id, name FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = self._run(sql, (after, limit))
        changed = {row[1]: row[0] for row in rows if row[2] in _CHANGES}
        last = rows[-1][0] if rows else after
        latest = f"SELECT job_id, max(seq) FROM events WHERE job_id IN ({placeholders(changed)}) AND {_CHANGED}"
        later = self._fetch_pairs(f"{latest} GROUP BY job_id", (*changed, *_CHANGES)) if changed else {}

        return sorted((seq, job_id) for job_id, seq in changed.items() if later.get(job_id, seq) <= last), last

    def indexable(self, job_ids: Sequence[str]) -> dict[str, Indexable]:
        """The texts of those jobs, without those that were purged or whose rows are damaged."""
        try:
            rows = self._run(f"{_INDEXABLE} ({placeholders(job_ids)})", tuple(job_ids))
            return {row[0]: _to_indexable(row) for row in rows}
        except (Damaged, ValueError):
            if len(job_ids) == 1:
                return {}
        return {name: job for each in job_ids for name, job in self.indexable([each]).items()}

    def text_sizes(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The bytes that `indexable` reads for each of those jobs."""
        sizes = self._fetch_pairs(f"{_TEXT_SIZES} ({placeholders(job_ids)})", tuple(job_ids)) if job_ids else {}
        return {job_id: int(size) for job_id, size in sizes.items()}

    def search_numbers(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The numbers of those jobs in the index, also for those that it does not have yet."""
        sql = f"SELECT job_id, no FROM search_jobs WHERE job_id IN ({placeholders(job_ids)})"
        numbers = {name: int(number) for name, number in self._fetch_pairs(sql, tuple(job_ids)).items()}
        free: dict[int, int] = {}
        for job_id in job_ids:
            if job_id not in numbers:
                first = first_number(job_id)
                if first not in free:
                    free[first] = self._count(_FREE, (first, *(first, first + NUMBERS_PER_TICK) * 2))
                numbers[job_id] = free[first]
                free[first] += 1

        return numbers

    def gone_from_search(self, *, limit: int) -> Sequence[int]:
        """The numbers of purged jobs whose entries are still there."""
        return [int(row[0]) for row in self._run("SELECT no FROM search_gone ORDER BY no LIMIT ?", (limit,))]

    def search_eras(self) -> Sequence[Era]:
        """The eras of the index, in their order."""
        sql = "SELECT first, mark FROM search_eras ORDER BY first"
        return self._fetch_all(lambda row: Era(first=int(row[0]), mark=int(row[1])), sql)

    def first_era_mark(self) -> int | None:
        """The mark of the first era."""
        mark: int | None = self._fetch_value("SELECT mark FROM search_eras WHERE first = 0")
        return mark

    def begin_era(self, eras: Sequence[Era]) -> tuple[Era | None, Sequence[str]]:
        """The era that is to begin now, and the jobs of the last one that move to it."""
        if not eras:
            return next_era((), ()), ()
        last = eras[-1].first
        if not self._run("SELECT no FROM search_jobs WHERE no >= ? ORDER BY no LIMIT 1 OFFSET ?", (last, ERA_JOBS - 1)):
            return None, ()
        newest = self._run("SELECT no, job_id FROM search_jobs WHERE no >= ? ORDER BY no DESC LIMIT ?", (last, MOVED))
        era = next_era(eras, [int(row[0]) for row in newest])

        return era, [row[1] for row in newest if int(row[0]) >= era.first]

    def request_sizes(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The size of the stored request of each of those jobs that is still there."""
        sql = f"{_SIZES} ({placeholders(job_ids)})"
        return {job_id: int(size) for job_id, size in self._fetch_pairs(sql, tuple(job_ids)).items()}

    def _matching_numbers(self, marks: str, below: str, limit: int) -> tuple[list[int], str | None]:
        """
        The numbers of entries with those marks, and the id down to which these are all, as in `merge`.

        The jobs of one moment are in no order: all of them, or none.
        """
        numbers = [int(row[0]) for row in self._run(NUMBERS, (marks, 0, end_before(below), limit))]
        if len(numbers) < limit:
            return numbers, None
        moment = numbers[-1] - numbers[-1] % NUMBERS_PER_TICK
        later = moment + NUMBERS_PER_TICK
        if numbers[0] >= later:
            return [number for number in numbers if number >= later], first_id(later)
        rest = self._run(NUMBERS, (marks, moment, numbers[-1], NUMBERS_PER_TICK))

        return numbers + [int(row[0]) for row in rest], first_id(moment)


def _to_indexable(row: Row) -> Indexable:
    return Indexable(
        job_id=row[0],
        request_id=row[2],
        retain=Retain(row[3]),
        request=row[4],
        outcome=None if row[5] is None else bytes(row[5]),
        facts=Facts(
            owner=row[1],
            group=row[6],
            model=row[7],
            state=State(row[8]),
            error=row[9],
            destination=row[10],
            dead=row[11] == DeliveryState.DEAD.value,
        ),
    )


class SearchIndexWrites(SearchIndexReads):
    """Implements `ports.search_index.SearchIndexWrites`."""

    def index(
        self,
        entries: Sequence[Entry],
        numbers: Mapping[str, int],
        *,
        deleted: Sequence[int],
        era: Era | None,
        first_era: int | None,
        expects: int,
        position: int,
    ) -> None:
        """
        Replace the entries of some jobs, and move the position; delete the entries `deleted`.

        Nothing, if another worker has moved the position or joined eras meanwhile. Jobs that were purged since are left
        out.
        """
        if self.search_position() != expects or (entries and self.first_era_mark() != first_era):
            return
        ids = [each.job_id for each in entries]
        sizes = self.request_sizes(ids)
        kept = [each for each in entries if each.job_id in sizes]
        removed = (*deleted, *(numbers[each] for each in ids))
        if removed:
            self._run(f"DELETE FROM search_docs WHERE rowid IN ({placeholders(removed)})", removed)
            self._run(f"DELETE FROM search_jobs WHERE no IN ({placeholders(removed)})", removed)
        if deleted:
            self._run(f"DELETE FROM search_gone WHERE no IN ({placeholders(deleted)})", deleted)
            for sql in _JOIN_ERAS:
                self._run(sql, ())
        if era is not None:
            self._run("INSERT INTO search_eras (first, mark) VALUES (?, ?)", (era.first, era.mark))
        if kept:
            jobs = [
                (numbers[each.job_id], each.job_id, int(each.opaque and sizes[each.job_id] > _ERASED)) for each in kept
            ]
            rows = ", ".join(["(?, ?, ?)"] * len(jobs))
            self._run(
                f"INSERT INTO search_jobs (no, job_id, opaque) VALUES {rows}", [each for row in jobs for each in row]
            )
        for each in kept:  # braces are PostgreSQL's, and nothing to SQLite
            marks = f"{{{','.join(map(str, sorted(each.marks)))}}}"
            self._run(ADD_ENTRY, (numbers[each.job_id], marks))
        self._run(_SET_POSITION, (position,))

    def drop_search_index(self) -> None:
        """Empty a damaged index of SQLite; it is then filled from the first event on."""
        self._run("INSERT INTO search_docs (search_docs) VALUES ('delete-all')", ())
        for table in ("search_jobs", "search_gone", "search_eras", "search_position"):
            self._run(f"DELETE FROM {table}", ())
