"""Batches and their items: SQL for the verbs of `ports.BatchView` and `ports.BatchUnit`, mixed into the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...core.batches import Batch, BatchState
from ...core.jobs.job import Job
from ...errors import Conflict
from ...ports import BatchItem
from . import records
from .query import QueryBase, fetch_all, placeholders

_BATCH = (
    "id state version planned_at count next_at looks misses give_up_at upstream_id sent_at expires_at ended_at"
    " cancelled_at worker held_until detail"
).split()
_SELECT = f"SELECT {records.columns(_BATCH)} FROM batches"
_INSERT = records.insert("batches", _BATCH)
_UPDATE = records.update("batches", _BATCH)
_ITEM = "SELECT i.custom_id, i.batch_id, i.job_id, i.number, i.done FROM batch_items i"
_JOB = f"SELECT {records.columns(records.JOB, 'j.')} FROM jobs j"
#: Items whose jobs still wait for them.
_AWAITED = """
FROM batch_items i JOIN jobs j ON j.id = i.job_id
WHERE i.batch_id = ? AND i.done = 0 AND j.state = 'batched' AND j.calls = i.number"""


class BatchReads(QueryBase):
    """Implements `ports.BatchView`."""

    def batch_candidates(
        self, *, limit: int, auto: bool, skip_groups: Collection[str] = (), skip_owners: Collection[str] = ()
    ) -> Sequence[Job]:
        """Due jobs that wait for a batch, oldest first; `auto`: those that have a time to give up, the others else."""
        where = ["j.state = 'queued' AND j.lane = 'batch' AND j.due_at <= ?"]
        args: list[Any] = [self._now]
        where.append(f"j.give_up_at IS {'NOT ' if auto else ''}NULL")
        for column, skipped in (("grp", skip_groups), ("owner", skip_owners)):
            if skipped:
                where.append(f"j.{column} NOT IN ({placeholders(skipped)})")
                args.extend(skipped)
        sql = f"{_JOB} INDEXED BY jobs_gather WHERE {' AND '.join(where)} ORDER BY j.due_at, j.id LIMIT ?"
        return fetch_all(records.to_job, self._run(sql, (*args, limit)))

    def request_size(self, job_id: str) -> int:
        """Bytes of the stored request."""
        found = self._run("SELECT octet_length(request) FROM requests WHERE job_id = ?", (job_id,))
        return int(found[0][0]) if found else 0

    def late_batch_jobs(self, *, unsent_before: float, sent_before: float, limit: int) -> Sequence[Job]:
        """Jobs on the batch's road that must be called live now: past their time to give up, or past its grace."""
        sql = f"""{_JOB} INDEXED BY jobs_give_up
                  WHERE j.lane = 'batch' AND j.give_up_at IS NOT NULL AND j.state IN ('queued', 'batched')
                    AND j.give_up_at <= CASE j.sent WHEN 0 THEN ? ELSE ? END
                  ORDER BY j.give_up_at LIMIT ?"""
        return [records.to_job(row) for row in self._run(sql, (unsent_before, sent_before, limit))]

    def batched_past_deadline(self, *, limit: int) -> Sequence[Job]:
        """Jobs in a batch whose asked-for deadline has passed."""
        sql = f"""{_JOB} INDEXED BY jobs_batched WHERE j.state = 'batched' AND j.deadline_asked = 1
                  AND j.deadline_at <= ? LIMIT ?"""
        return [records.to_job(row) for row in self._run(sql, (self._now, limit))]

    def batch(self, batch_id: str) -> Batch | None:
        """One batch."""
        found = self._run(f"{_SELECT} WHERE id = ?", (batch_id,))
        return _to_batch(found[0]) if found else None

    def due_batches(self, *, limit: int) -> Sequence[Batch]:
        """Batches that nobody has in hand and that should be looked at now."""
        sql = f"""{_SELECT} WHERE state <> 'settled' AND next_at <= ?
                  AND (worker IS NULL OR held_until <= ?) ORDER BY next_at LIMIT ?"""
        return [_to_batch(row) for row in self._run(sql, (self._now, self._now, limit))]

    def next_batch_at(self) -> float | None:
        """When the next batch is to be looked at."""
        return self._run("SELECT min(next_at) FROM batches WHERE state <> 'settled'", ())[0][0]

    def known_upstream(self, upstream_ids: Collection[str]) -> set[str]:
        """Which of those belong to batches of ours."""
        sql = f"SELECT upstream_id FROM batches WHERE upstream_id IN ({placeholders(upstream_ids)})"
        return {row[0] for row in self._run(sql, tuple(upstream_ids))}

    def items(self, batch_id: str) -> Sequence[BatchItem]:
        """Everything in a batch that is not done."""
        return [_to_item(row) for row in self._run(f"{_ITEM} WHERE i.batch_id = ? AND i.done = 0", (batch_id,))]

    def item(self, custom_id: str) -> BatchItem | None:
        """One item, by its name upstream."""
        found = self._run(f"{_ITEM} WHERE i.custom_id = ?", (custom_id,))
        return _to_item(found[0]) if found else None

    def item_of_call(self, job_id: str, number: int) -> BatchItem | None:
        """The item of one try of a job."""
        found = self._run(f"{_ITEM} WHERE i.job_id = ? AND i.number = ?", (job_id, number))
        return _to_item(found[0]) if found else None

    def count_awaited(self, batch_id: str) -> int:
        """How many of its items have a job that still waits for them."""
        return int(self._run(f"SELECT count(*) {_AWAITED}", (batch_id,))[0][0])

    def unsent_batches(self) -> int:
        """How many are planned that nobody has taken in hand to send."""
        sql = """SELECT count(*) FROM batches WHERE state <> 'settled' AND state = 'planned'
                 AND (worker IS NULL OR held_until <= ?)"""
        return int(self._run(sql, (self._now,))[0][0])

    def batch_counts(self) -> dict[str, int]:
        """How many batches stand in each state, but for those that are settled."""
        known = {state.value: 0 for state in BatchState if state is not BatchState.SETTLED}
        sql = "SELECT state, count(*) FROM batches WHERE state <> 'settled' GROUP BY state"
        return known | dict(self._run(sql, ()))  # type: ignore[arg-type]


class BatchWrites(BatchReads):
    """Implements `ports.BatchUnit`."""

    def add_batch(self, batch: Batch, items: Sequence[BatchItem]) -> None:
        """A new batch and what is in it; items that another one had move over."""
        self._run(_INSERT, _values(batch))
        sql = """INSERT INTO batch_items (custom_id, batch_id, job_id, number, done) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (custom_id) DO UPDATE SET batch_id = excluded.batch_id"""
        for item in items:
            self._run(sql, (item.custom_id, batch.id, item.job_id, item.number, int(item.done)))

    def save_batch(self, batch: Batch, expects: int) -> None:
        """A batch's next version. Raises `Conflict` when someone else has had it in hand since."""
        if not self._run(_UPDATE, (*_values(batch), batch.id, expects)):
            raise Conflict("another worker has taken over the batch")

    def mark_batch_sent(self, batch_id: str, upstream_id: str | None = None) -> None:
        """Its items go out: in the ledger, whether their jobs still wait or not."""
        of_batch = "SELECT 1 FROM batch_items i WHERE i.batch_id = ? AND i.done = 0"
        self._run(
            f"""UPDATE calls SET sent = 1, upstream_request_id = coalesce(?, upstream_request_id)
                WHERE EXISTS ({of_batch} AND i.job_id = calls.job_id AND i.number = calls.number)
                  AND job_id IN (SELECT job_id FROM batch_items WHERE batch_id = ?)""",
            (upstream_id, batch_id, batch_id),
        )
        self._run(
            f"""UPDATE jobs SET sent = 1 WHERE state = 'batched'
                  AND id IN (SELECT job_id FROM batch_items WHERE batch_id = ?)
                  AND EXISTS ({of_batch} AND i.job_id = jobs.id AND i.number = jobs.calls)""",
            (batch_id, batch_id),
        )

    def mark_item_done(self, custom_id: str) -> None:
        """Its result was taken in."""
        self._run("UPDATE batch_items SET done = 1 WHERE custom_id = ?", (custom_id,))

    def release_batches(self, worker: str) -> None:
        """A worker is gone: others may take what it had in hand."""
        self._run("UPDATE batches SET worker = NULL, held_until = NULL WHERE worker = ?", (worker,))

    def poll_now(self, batch_id: str) -> None:
        """Someone should look at that batch at once."""
        self._run("UPDATE batches SET next_at = ? WHERE id = ? AND state <> 'settled'", (self._now, batch_id))

    def purge_batches(self) -> None:
        """Forget settled batches of which no item is left."""
        self._run(
            """DELETE FROM batches WHERE state = 'settled'
               AND NOT EXISTS (SELECT 1 FROM batch_items i WHERE i.batch_id = batches.id)""",
            (),
        )


def _values(batch: Batch) -> tuple[Any, ...]:
    told = vars(batch) | {"state": batch.state.value}

    return tuple(told[name] for name in _BATCH)


def _to_batch(row: Sequence[Any]) -> Batch:
    told = dict(zip(_BATCH, row, strict=True))
    told["state"] = BatchState(told["state"])

    return Batch(**told)


def _to_item(row: Sequence[Any]) -> BatchItem:
    return BatchItem(custom_id=row[0], batch_id=row[1], job_id=row[2], number=row[3], done=bool(row[4]))
