"""The purge: jobs past their retention are erased, and a tombstone of each stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.digests import digest
from ...core.retention import OPEN_DELIVERIES, PurgeCutoffs
from . import records
from .query import QueryBase, placeholders
from .tallies import DELIVERIES, Number, TallyWrites, of_state

if TYPE_CHECKING:
    from ...core.jobs.job import State
    from ...core.jobs.tombstone import Tombstone

# `core.retention.PurgeCutoffs` in SQL. Also kept: the earlier part of a conversation, a row of a collection, and an
# item of a batch whose result was not read yet. Each job is looked up by its keys, in subqueries of one value: EXISTS
# and joins become joins of whole tables where PostgreSQL takes few jobs for finished (*measured*: 270 ms a look).
_DELIVERY = "(SELECT d.{} FROM deliveries d WHERE d.job_id = o.id AND d.run = o.run)"
_PURGEABLE = f"""
o.collection IS NULL
AND coalesce({_DELIVERY.format("finished_at")}, o.finished_at) <= CASE
    WHEN o.state IN ({placeholders(PurgeCutoffs.done_states)})
        AND coalesce({_DELIVERY.format("state")}, '') NOT IN ({placeholders(PurgeCutoffs.undelivered)})
    THEN ? ELSE ? END
AND (SELECT count(*) FROM deliveries p
     WHERE p.job_id = o.id AND p.state IN ({placeholders(OPEN_DELIVERIES)})) = 0
AND (SELECT count(*) FROM continuations c WHERE c.earlier_id = o.id) = 0
AND (SELECT count(*) FROM batch_items i WHERE i.job_id = o.id AND i.done = 0) = 0"""
_FINISHED = f"""
SELECT o.finished_at, o.id, CASE WHEN {_PURGEABLE} THEN 1 ELSE 0 END FROM (
    SELECT id, run, state, finished_at, collection FROM jobs /* index: jobs_finished */
    WHERE finished_at IS NOT NULL AND finished_at <= ? AND (finished_at, id) > (?, ?)
    ORDER BY finished_at, id LIMIT ?
) o ORDER BY o.finished_at, o.id"""
_ADD_TOMBSTONES = """
INSERT INTO tombstones (request_id, owner, job_id, body_hash, state, created_at, finished_at, purged_at)
SELECT request_id, owner, id, body_hash, coalesce(?, state), created_at, finished_at, ? FROM jobs WHERE id IN ({})
ON CONFLICT (request_id, owner) DO UPDATE SET job_id = excluded.job_id, body_hash = excluded.body_hash,
    state = excluded.state, created_at = excluded.created_at, finished_at = excluded.finished_at,
    purged_at = excluded.purged_at"""
# The sizes of the jobs' large columns, from the headers of the rows: the columns themselves are not read.
_SIZES = """
SELECT o.id, coalesce((SELECT octet_length(request) FROM requests WHERE job_id = o.id), 0)
     + coalesce((SELECT sum(octet_length(body)) FROM outcomes WHERE job_id = o.id), 0)
     + coalesce((SELECT sum(octet_length(blocks)) FROM answers WHERE job_id = o.id), 0)
     + coalesce((SELECT sum(octet_length(data)) FROM fetched_files WHERE job_id = o.id), 0)
FROM jobs o WHERE o.id IN"""
_ERASE_FILE = """
DELETE FROM fetched_files WHERE job_id = ?
    AND number = (SELECT max(number) FROM fetched_files WHERE job_id = ?) RETURNING 1 AS erased"""
_DELIVERIES_OF_JOB = "(SELECT id FROM deliveries WHERE job_id = ?)"
#: Tables with rows of a job, in an order that the foreign keys allow.
_TABLES = (
    "continuations",
    "answers",
    "repairs",
    "events",
    "acks",
    "partials",
    "fetched_files",
    "batch_items",
    "calls",
    "outcomes",
    "requests",
)


class PurgeReads(QueryBase):
    """Implements `ports.store.PurgeReads`."""

    def tombstones(self, request_id: str, owner: str | None) -> Sequence[Tombstone]:
        """The tombstones of that requestId, of one owner or (None) of all."""
        sql = """SELECT job_id, owner, request_id, body_hash, state, created_at, finished_at, purged_at
                 FROM tombstones WHERE request_id = ? AND (? IS NULL OR owner = ?)"""
        return self._fetch_all(records.to_tombstone, sql, (request_id, owner, owner))

    def purgeable(
        self, cutoffs: PurgeCutoffs, *, after: tuple[float, str], limit: int
    ) -> tuple[Sequence[str], tuple[float, str] | None]:
        """The jobs past their retention among the next `limit` finished ones, oldest first, and where to go on."""
        rows = self._run(_FINISHED, (*_arguments(cutoffs), cutoffs.latest, *after, limit))
        last = (float(rows[-1][0]), str(rows[-1][1])) if len(rows) == limit else None

        return [job_id for _, job_id, purgeable in rows if purgeable], last


class PurgeWrites(TallyWrites):
    """Implements `ports.store.PurgeWrites`."""

    def erase_content(self, job_id: str) -> None:
        """Erase prompt, files and answer; that there was a job, and its cost, stays."""
        for row in self._run(f"SELECT {records.columns(records.CALLBACK)} FROM requests WHERE job_id = ?", (job_id,)):
            callback = dict(zip(records.CALLBACK, row, strict=True)) | {"webhook_headers": None}
            sql = """UPDATE requests SET request = '{}', request_digest = ?, webhook_headers = NULL, variables = NULL,
                     digest = ? WHERE job_id = ?"""
            self._run(sql, (digest(job_id, "{}"), digest(*callback.values()), job_id))
        self._run("UPDATE outcomes SET body = ?, digest = NULL WHERE job_id = ?", (b"", job_id))
        self._run(f"UPDATE posts SET reply = '' WHERE delivery_id IN {_DELIVERIES_OF_JOB}", (job_id,))
        self._run(f"DELETE FROM delivery_bodies WHERE delivery_id IN {_DELIVERIES_OF_JOB}", (job_id,))
        for table in ("partials", "fetched_files", "answers", "repairs"):
            self._run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
        self._run("UPDATE search_jobs SET opaque = 0 WHERE job_id = ?", (job_id,))  # only its requestId is left

    def purge(self, jobs: Sequence[str], cutoffs: PurgeCutoffs, *, size: int) -> tuple[int, Sequence[str]]:
        """
        Erase those of the jobs that are still past their retention; returns how many, and the jobs that are left.

        No more after `size` bytes: erased content is overwritten, so that the time depends on the bytes. Of a larger
        job the files that it names by URL are erased first, one at a time.
        """
        if not jobs:
            return 0, ()
        rows = self._run(
            f"{_SIZES} ({placeholders(jobs)}) AND o.finished_at IS NOT NULL AND {_PURGEABLE}",
            (*jobs, *_arguments(cutoffs)),
        )
        sizes = {row[0]: int(row[1]) for row in rows}
        if sizes.get(jobs[0], 0) > size and self._run(_ERASE_FILE, (jobs[0], jobs[0])):
            return 0, jobs
        erased: list[str] = []
        rest = list(jobs)
        while rest and size > 0:
            job_id = rest.pop(0)
            if job_id in sizes:
                size -= sizes[job_id]
                erased.append(job_id)
        self.purge_jobs(erased)

        return len(erased), rest

    def purge_jobs(self, jobs: Sequence[str], *, tombstones: bool = True, ended: State | None = None) -> None:
        """
        Erase jobs with all that belongs to them; their tombstones say that they `ended` so, else their states.

        A statement a table, not a job: a distant server is asked twice, whatever their number.
        """
        if not jobs:
            return
        these = f"({placeholders(jobs)})"
        if tombstones:
            self._run(_ADD_TOMBSTONES.format(placeholders(jobs)), (ended.value if ended else None, self._now, *jobs))
        for table in ("posts", "delivery_bodies"):
            sql = f"DELETE FROM {table} WHERE delivery_id IN (SELECT id FROM deliveries WHERE job_id IN {these})"
            self._run(sql, jobs)
        for state, group in self._run(f"DELETE FROM deliveries WHERE job_id IN {these} RETURNING state, grp", jobs):
            self._moved(Number(DELIVERIES, state, group, ""), None)
        for table in _TABLES:
            self._run(f"DELETE FROM {table} WHERE job_id IN {these}", jobs)
        self._run(f"INSERT INTO search_gone (no) SELECT no FROM search_jobs WHERE job_id IN {these}", jobs)
        self._run(f"DELETE FROM search_jobs WHERE job_id IN {these}", jobs)
        for row in self._run(f"DELETE FROM jobs WHERE id IN {these} RETURNING state, grp, owner", jobs):
            self._moved(of_state(*row), None)

    def purge_tombstones(self, before: float) -> None:
        """Delete the tombstones of jobs that were purged before then."""
        self._run("DELETE FROM tombstones WHERE purged_at < ?", (before,))


def _arguments(cutoffs: PurgeCutoffs) -> Sequence[Any]:
    done = [state.value for state in cutoffs.done_states]
    undelivered = [state.value for state in cutoffs.undelivered]
    still_open = [state.value for state in OPEN_DELIVERIES]

    return (*done, *undelivered, cutoffs.done_before, cutoffs.failed_before, *still_open)
