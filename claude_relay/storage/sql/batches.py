"""Message Batches and their items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...core.batches import Batch, BatchState
from ...errors import Conflict
from ...ports import BatchItem
from . import records
from .query import QueryBase, Row, placeholders

_BATCH = (
    "id state version planned_at count next_at looks misses give_up_at upstream_id sent_at expires_at ended_at"
    " cancelled_at worker held_until detail collection growing size"
).split()
_SELECT = f"SELECT {records.columns(_BATCH)} FROM batches"
_INSERT = records.insert("batches", _BATCH)
_UPDATE = records.update("batches", _BATCH)
_ITEM = "SELECT i.custom_id, i.batch_id, i.job_id, i.number, i.done FROM batch_items i"
# Items whose jobs still wait for them.
_AWAITED = """
FROM batch_items i JOIN jobs j ON j.id = i.job_id
WHERE i.batch_id = ? AND i.done = 0 AND j.state = 'batched' AND j.calls = i.number"""


class BatchReads(QueryBase):
    """Implements `ports.BatchReads`."""

    def batch(self, batch_id: str) -> Batch | None:
        """A batch by its internal id."""
        return self._fetch_first(_to_batch, f"{_SELECT} WHERE id = ?", (batch_id,))

    def due_batches(self, *, limit: int) -> Sequence[Batch]:
        """Batches without a lease that are due for a poll."""
        sql = f"""{_SELECT} WHERE state <> 'settled' AND growing = 0 AND next_at <= ?
                  AND (worker IS NULL OR held_until <= ?) ORDER BY next_at LIMIT ?"""
        return self._fetch_all(_to_batch, sql, (self._now, self._now, limit))

    def next_batch_at(self) -> float | None:
        """The earliest poll that is due; None without open batches."""
        return self._fetch_time("SELECT min(next_at) FROM batches WHERE state <> 'settled' AND growing = 0")

    def growing_batch(self) -> Batch | None:
        """The batch that takes more rows of its collection."""
        sql = f"{_SELECT} WHERE state <> 'settled' AND growing = 1 ORDER BY planned_at LIMIT 1"
        return self._fetch_first(_to_batch, sql, ())

    def known_upstream(self, upstream_ids: Collection[str]) -> set[str]:
        """Those of the ids that belong to batches of this relay."""
        sql = f"SELECT upstream_id FROM batches WHERE upstream_id IN ({placeholders(upstream_ids)})"
        return {row[0] for row in self._run(sql, tuple(upstream_ids))}

    def items(self, batch_id: str) -> Sequence[BatchItem]:
        """The items of a batch whose results were not read yet."""
        return self._fetch_all(_to_item, f"{_ITEM} WHERE i.batch_id = ? AND i.done = 0", (batch_id,))

    def item(self, custom_id: str) -> BatchItem | None:
        """An item by its id upstream."""
        return self._fetch_first(_to_item, f"{_ITEM} WHERE i.custom_id = ?", (custom_id,))

    def item_of_call(self, job_id: str, number: int) -> BatchItem | None:
        """The item of one call of a job."""
        return self._fetch_first(_to_item, f"{_ITEM} WHERE i.job_id = ? AND i.number = ?", (job_id, number))

    def count_awaited(self, batch_id: str) -> int:
        """The number of items with a job that still waits for them."""
        return self._count(f"SELECT count(*) {_AWAITED}", (batch_id,))

    def unsent_batches(self) -> int:
        """The number of planned batches that no worker has leased to send."""
        sql = """SELECT count(*) FROM batches WHERE state <> 'settled' AND state = 'planned'
                 AND (worker IS NULL OR held_until <= ?)"""
        return self._count(sql, (self._now,))

    def batch_counts(self) -> dict[str, int]:
        """The number of batches in each state, without settled ones."""
        zeros = {state.value: 0 for state in BatchState if state is not BatchState.SETTLED}
        sql = "SELECT state, count(*) FROM batches WHERE state <> 'settled' GROUP BY state"
        return zeros | self._fetch_pairs(sql)


class BatchWrites(QueryBase):
    """Implements `ports.BatchWrites`."""

    def add_batch(self, batch: Batch, items: Sequence[BatchItem]) -> None:
        """Add a batch with its items; items of another batch move to it."""
        self._run(_INSERT, _values(batch))
        self.add_items(batch, items)

    def add_items(self, batch: Batch, items: Sequence[BatchItem]) -> None:
        """Add items to a batch; those of another batch move to it."""
        sql = """INSERT INTO batch_items (custom_id, batch_id, job_id, number, done) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (custom_id) DO UPDATE SET batch_id = excluded.batch_id"""
        for item in items:
            self._run(sql, (item.custom_id, batch.id, item.job_id, item.number, int(item.done)))

    def save_batch(self, batch: Batch, expects: int) -> None:
        """Save the next version of a batch. Raises `Conflict` if another worker has changed it since."""
        if not self._run(_UPDATE, (*_values(batch), batch.id, expects)):
            raise Conflict("another worker has taken over the batch")

    def mark_batch_sent(self, batch_id: str, upstream_id: str | None = None) -> None:
        """Mark the items as sent: in the ledger, whether their jobs still wait or not."""
        open_items = "SELECT 1 FROM batch_items i WHERE i.batch_id = ? AND i.done = 0"
        self._run(
            f"""UPDATE calls SET sent = 1, upstream_request_id = coalesce(?, upstream_request_id)
                WHERE EXISTS ({open_items} AND i.job_id = calls.job_id AND i.number = calls.number)
                  AND job_id IN (SELECT job_id FROM batch_items WHERE batch_id = ?)""",
            (upstream_id, batch_id, batch_id),
        )
        self._run(
            f"""UPDATE jobs SET times = times + 1 - sent, sent = 1 WHERE state = 'batched'
                  AND id IN (SELECT job_id FROM batch_items WHERE batch_id = ?)
                  AND EXISTS ({open_items} AND i.job_id = jobs.id AND i.number = jobs.calls)""",
            (batch_id, batch_id),
        )

    def mark_item_done(self, custom_id: str) -> None:
        """Mark the result of an item as read."""
        self._run("UPDATE batch_items SET done = 1 WHERE custom_id = ?", (custom_id,))

    def release_batches(self, worker: str) -> None:
        """Release the leases of a worker that stopped or died."""
        self._run("UPDATE batches SET worker = NULL, held_until = NULL WHERE worker = ?", (worker,))

    def poll_now(self, batch_id: str) -> None:
        """Make a batch due for a poll at once."""
        self._run("UPDATE batches SET next_at = ? WHERE id = ? AND state <> 'settled'", (self._now, batch_id))

    def purge_batches(self) -> None:
        """Delete settled batches without items."""
        self._run(
            """DELETE FROM batches WHERE state = 'settled'
               AND NOT EXISTS (SELECT 1 FROM batch_items i WHERE i.batch_id = batches.id)""",
            (),
        )


def _values(batch: Batch) -> tuple[Any, ...]:
    columns = vars(batch) | {"state": batch.state.value, "growing": int(batch.growing)}

    return tuple(columns[name] for name in _BATCH)


def _to_batch(row: Row) -> Batch:
    columns = dict(zip(_BATCH, row, strict=True))
    columns["state"] = BatchState(columns["state"])
    columns["growing"] = bool(columns["growing"])

    return Batch(**columns)


def _to_item(row: Row) -> BatchItem:
    return BatchItem(custom_id=row[0], batch_id=row[1], job_id=row[2], number=row[3], done=bool(row[4]))
