"""The purge: jobs past their retention are erased, and a tombstone of each stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.digests import digest
from ...core.retention import OPEN_DELIVERIES, PurgeCutoffs
from . import records
from .query import QueryBase, placeholders
from .tallies import DELIVERIES, Number, TallyWrites, of_state

if TYPE_CHECKING:
    from ...core.jobs.job import State
    from ...core.jobs.tombstone import Tombstone

# `core.retention.PurgeCutoffs` for all jobs at once. Also kept: the earlier part of a conversation, a row of a
# collection, and an item of a batch whose result was not read yet. Without the latest cut-off the scan of the index
# would go on to the newest job.
_PURGEABLE = f"""
SELECT j.id FROM jobs j LEFT JOIN deliveries d ON d.job_id = j.id AND d.run = j.run
WHERE j.finished_at IS NOT NULL AND j.collection IS NULL
  AND coalesce(d.finished_at, j.finished_at) <= CASE
      WHEN j.state IN ({placeholders(PurgeCutoffs.done_states)})
          AND coalesce(d.state, '') NOT IN ({placeholders(PurgeCutoffs.undelivered)}) THEN ? ELSE ? END
  AND j.finished_at <= ?
  AND NOT EXISTS (
      SELECT 1 FROM deliveries p WHERE p.job_id = j.id AND p.state IN ({placeholders(OPEN_DELIVERIES)}))
  AND NOT EXISTS (SELECT 1 FROM continuations c WHERE c.earlier_id = j.id)
  AND NOT EXISTS (SELECT 1 FROM batch_items i WHERE i.job_id = j.id AND i.done = 0)
ORDER BY j.finished_at LIMIT ?"""
_ADD_TOMBSTONE = """
INSERT INTO tombstones (request_id, owner, job_id, body_hash, state, created_at, finished_at, purged_at)
SELECT request_id, owner, id, body_hash, coalesce(?, state), created_at, finished_at, ? FROM jobs WHERE id = ?
ON CONFLICT (request_id, owner) DO UPDATE SET job_id = excluded.job_id, body_hash = excluded.body_hash,
    state = excluded.state, created_at = excluded.created_at, finished_at = excluded.finished_at,
    purged_at = excluded.purged_at"""
# The size of a job's large columns, from the headers of the rows: the columns themselves are not read.
_SIZE = """
SELECT coalesce((SELECT octet_length(request) FROM requests WHERE job_id = ?), 0)
     + coalesce((SELECT sum(octet_length(body)) FROM outcomes WHERE job_id = ?), 0)
     + coalesce((SELECT sum(octet_length(blocks)) FROM answers WHERE job_id = ?), 0)
     + coalesce((SELECT sum(octet_length(data)) FROM fetched_files WHERE job_id = ?), 0)"""
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

    def purge(self, *, done_before: float, failed_before: float, limit: int, size: int) -> tuple[int, bool]:
        """
        Erase jobs past their retention, oldest first; returns how many, and whether more are left.

        Up to `limit` of them, and no more after `size` bytes: erased content is overwritten, so that the time depends
        on the bytes.
        """
        jobs = self._purgeable(PurgeCutoffs(done_before=done_before, failed_before=failed_before), limit)
        for number, job_id in enumerate(jobs, 1):
            size -= self._count(_SIZE, (job_id,) * 4)
            self.purge_job(job_id)
            if size <= 0:
                return number, number < len(jobs) or len(jobs) == limit
        return len(jobs), len(jobs) == limit

    def purge_job(self, job_id: str, *, tombstone: bool = True, ended: State | None = None) -> None:
        """Erase a job with all that belongs to it; its tombstone says that it `ended` so, else its state."""
        if tombstone:
            self._run(_ADD_TOMBSTONE, (ended.value if ended else None, self._now, job_id))
        self._run(f"DELETE FROM posts WHERE delivery_id IN {_DELIVERIES_OF_JOB}", (job_id,))
        self._run(f"DELETE FROM delivery_bodies WHERE delivery_id IN {_DELIVERIES_OF_JOB}", (job_id,))
        for state, group in self._run("DELETE FROM deliveries WHERE job_id = ? RETURNING state, grp", (job_id,)):
            self._moved(Number(DELIVERIES, state, group, ""), None)
        for table in _TABLES:
            self._run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
        self._run("INSERT INTO search_gone (no) SELECT no FROM search_jobs WHERE job_id = ?", (job_id,))
        self._run("DELETE FROM search_jobs WHERE job_id = ?", (job_id,))
        for row in self._run("DELETE FROM jobs WHERE id = ? RETURNING state, grp, owner", (job_id,)):
            self._moved(of_state(*row), None)

    def purge_tombstones(self, before: float) -> None:
        """Delete the tombstones of jobs that were purged before then."""
        self._run("DELETE FROM tombstones WHERE purged_at < ?", (before,))

    def _purgeable(self, cutoffs: PurgeCutoffs, limit: int) -> list[str]:
        short = (*(state.value for state in cutoffs.done_states), *(state.value for state in cutoffs.undelivered))
        still_open = [state.value for state in OPEN_DELIVERIES]
        args = (*short, cutoffs.done_before, cutoffs.failed_before, cutoffs.latest, *still_open, limit)
        return [row[0] for row in self._run(_PURGEABLE, args)]
