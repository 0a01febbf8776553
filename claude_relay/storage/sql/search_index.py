"""
The search index: entries by number, which sorts by the time of the job.

It is filled from the events by a worker, so that it lacks the jobs of the last second. Only a search and that worker
touch `search_docs`; a purge notes the number of the entry to delete.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...core.jobs.events import EventName
from ...core.jobs.job import Retain
from ...core.search_index import NUMBERS_PER_TICK, Entry, Indexable, first_id, first_number, merge
from ...errors import Damaged
from .query import QueryBase, placeholders

#: The events of a job after which its texts may be others.
_CHANGES = tuple(
    name.value
    for name in (
        EventName.SUBMITTED,
        EventName.RETRIED,
        EventName.COMPLETED,
        EventName.FAILED,
        EventName.CANCELLED,
        EventName.LATE_RESULT,
    )
)
_CHANGED = f"subject = 'job' AND name IN ({placeholders(_CHANGES)})"
# SQLite reads it in that order and stops at the limit; PostgreSQL finds all and sorts them.
_NUMBERS = """
SELECT rowid FROM search_docs WHERE search_docs MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"""
_OPAQUE = """
SELECT job_id FROM search_jobs /* index: search_opaque */ WHERE opaque = 1 AND job_id < ?
ORDER BY job_id DESC LIMIT ?"""
_UNINDEXED = f"""
SELECT DISTINCT job_id FROM (
    SELECT job_id, subject, name FROM events WHERE seq > ? ORDER BY seq LIMIT ?
) AS latest WHERE {_CHANGED}"""
_INDEXABLE = """
SELECT j.id, j.owner, j.request_id, j.retain, r.request, o.body FROM jobs j LEFT JOIN requests r ON r.job_id = j.id
LEFT JOIN outcomes o ON o.job_id = j.id AND o.run = j.run WHERE j.id = ?"""
_ERASED = len("{}")  # bytes of an erased request
_SIZES = """
SELECT j.id, coalesce((SELECT octet_length(r.request) FROM requests r WHERE r.job_id = j.id), 0)
FROM jobs j WHERE j.id IN"""
_FREE = """
SELECT coalesce(max(no) + 1, ?) FROM (
    SELECT no FROM search_jobs WHERE no >= ? AND no < ? UNION ALL SELECT no FROM search_gone WHERE no >= ? AND no < ?
) AS taken"""
_SET_POSITION = """
INSERT INTO search_position (id, seq) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq"""


class SearchIndexReads(QueryBase):
    """Implements `ports.search_index.SearchIndexReads`."""

    #: A standby of PostgreSQL has no index.
    has_search_index = True

    def search_candidates(
        self, marks: Collection[int], *, before: str, limit: int
    ) -> tuple[Sequence[str], str | None] | None:
        """
        The newest jobs before that id whose entries have those marks, and the id down to which these are all.

        About `limit` of them: jobs of one moment come together. The id is None where no more follow, and all is None
        where the index is damaged.
        """
        opaque = [row[0] for row in self._run(_OPAQUE, (before, limit))]
        try:
            numbers, down_to = self._matching_numbers(" ".join(map(str, marks)), before, limit)
        except Damaged:
            return None
        sql = f"SELECT job_id FROM search_jobs WHERE no IN ({placeholders(numbers)})"
        ids = [row[0] for row in self._run(sql, numbers)] if numbers else []
        last_opaque = opaque[-1] if len(opaque) == limit else None

        return merge(([each for each in ids if each < before], down_to), (opaque, last_opaque))

    def unindexed(self, *, limit: int) -> Sequence[str] | None:
        """The jobs whose texts may have changed since they were indexed; None where that are too many to read."""
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
        Jobs whose texts changed by the next `limit` events, each at the last one, and the last event that was read.

        Jobs that change again later are left out: they are indexed then.
        """
        sql = "SELECT seq, job_id, subject, name FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = self._run(sql, (after, limit))
        changed = {row[1]: row[0] for row in rows if row[2] == "job" and row[3] in _CHANGES}
        last = rows[-1][0] if rows else after
        latest = f"SELECT job_id, max(seq) FROM events WHERE job_id IN ({placeholders(changed)}) AND {_CHANGED}"
        later = self._fetch_pairs(f"{latest} GROUP BY job_id", (*changed, *_CHANGES)) if changed else {}

        return sorted((seq, job_id) for job_id, seq in changed.items() if later.get(job_id, seq) <= last), last

    def indexable(self, job_id: str) -> Indexable | None:
        """The texts of a job; None where it was purged, or its row is damaged."""
        try:
            for row in self._run(_INDEXABLE, (job_id,)):
                outcome = None if row[5] is None else bytes(row[5])
                return Indexable(
                    job_id=row[0],
                    owner=row[1],
                    request_id=row[2],
                    retain=Retain(row[3]),
                    request=row[4],
                    outcome=outcome,
                )
        except (Damaged, ValueError):
            return None
        return None

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

    def request_sizes(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The size of the stored request of each of those jobs that is still there."""
        sql = f"{_SIZES} ({placeholders(job_ids)})"
        return {job_id: int(size) for job_id, size in self._fetch_pairs(sql, tuple(job_ids)).items()}

    def _matching_numbers(self, marks: str, before: str, limit: int) -> tuple[list[int], str | None]:
        """The numbers of entries with those marks, and the id down to which these are all, as in `merge`."""
        end = first_number(before) + NUMBERS_PER_TICK
        numbers = [int(row[0]) for row in self._run(_NUMBERS, (marks, 0, end, limit))]
        if len(numbers) < limit:
            return numbers, None
        moment = numbers[-1] - numbers[-1] % NUMBERS_PER_TICK
        rest = self._run(_NUMBERS, (marks, moment, numbers[-1], NUMBERS_PER_TICK))

        return numbers + [int(row[0]) for row in rest], first_id(moment)


class SearchIndexWrites(SearchIndexReads):
    """Implements `ports.search_index.SearchIndexWrites`."""

    def index(
        self, entries: Sequence[Entry], numbers: Mapping[str, int], *, gone: Sequence[int], expects: int, position: int
    ) -> None:
        """
        Replace the entries of some jobs, and move the position; delete the entries `gone`.

        Nothing, if another worker has moved the position meanwhile. Jobs that were purged meanwhile are left out.
        """
        if self.search_position() != expects:
            return
        ids = [each.job_id for each in entries]
        sizes = self.request_sizes(ids)
        kept = [each for each in entries if each.job_id in sizes]
        removed = (*gone, *(numbers[each] for each in ids))
        if removed:
            self._run(f"DELETE FROM search_docs WHERE rowid IN ({placeholders(removed)})", removed)
            self._run(f"DELETE FROM search_jobs WHERE no IN ({placeholders(removed)})", removed)
        if gone:
            self._run(f"DELETE FROM search_gone WHERE no IN ({placeholders(gone)})", gone)
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
            self._run("INSERT INTO search_docs (rowid, marks) VALUES (?, ?)", (numbers[each.job_id], marks))
        self._run(_SET_POSITION, (position,))

    def drop_search_index(self) -> None:
        """Empty a damaged index of SQLite; it is then filled from the first event on."""
        self._run("INSERT INTO search_docs (search_docs) VALUES ('delete-all')", ())
        for table in ("search_jobs", "search_gone", "search_position"):
            self._run(f"DELETE FROM {table}", ())
