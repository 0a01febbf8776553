"""Acknowledgements of results, and the deliveries that lack one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ...core import retention
from . import records
from .destinations import COUNTED
from .events import EventWrites
from .query import QueryBase, placeholders

if TYPE_CHECKING:
    from ...core.deliveries.delivery import Delivery
    from ...core.jobs.events import Event
    from ...core.jobs.job import Job

# The index holds deliveries without an ack. Groups that never sent one are left out: there a missing ack means nothing.
_UNACKED = """
FROM deliveries d /* index: deliveries_unacked */ JOIN jobs j ON j.id = d.job_id AND j.run = d.run
WHERE d.state = 'delivered' AND d.acked_at IS NULL AND d.grp IN (SELECT name FROM ack_groups)"""
UNREMINDED = f"""
SELECT {records.columns(records.DELIVERY, "d.")} {_UNACKED}
AND d.reminded_at IS NULL AND d.finished_at <= ? AND j.retain IN ({placeholders(retention.REMINDABLE)}) LIMIT ?"""


class AckReads(QueryBase):
    """Implements `ports.store.AckReads`."""

    def acked_at(self, job_id: str, run: int) -> float | None:
        """The time of the ack of that run's result; None without one."""
        return self._fetch_time("SELECT at FROM acks WHERE job_id = ? AND run = ?", (job_id, run))

    def acks_of(self, job_ids: Collection[str]) -> dict[tuple[str, int], float]:
        """The times of the acks of several jobs, by job and run."""
        sql = f"SELECT job_id, run, at FROM acks WHERE job_id IN ({placeholders(job_ids)})"
        return {(row[0], row[1]): row[2] for row in self._run(sql, tuple(job_ids))}

    def acks_expected(self, group: str) -> bool:
        """Whether results of that group are acknowledged: at least one has been."""
        return self._fetch_value("SELECT 1 FROM ack_groups WHERE name = ?", (group,)) is not None

    def unacked_deliveries(self, *, before: float, limit: int) -> Sequence[Delivery]:
        """Deliveries of latest runs that ended before then without an ack or a reminder, and can be sent again."""
        eligible = [kind.value for kind in retention.REMINDABLE]
        return self._fetch_all(records.to_delivery, UNREMINDED, (before, *eligible, limit))

    def unacked(self) -> int:
        """The number of delivered results without an ack, in groups that send acks, counted up to `COUNTED`."""
        return self._count(f"SELECT count(*) FROM (SELECT 1 {_UNACKED} LIMIT ?) AS unacked", (COUNTED,))


class AckWrites(EventWrites):
    """Implements `ports.store.AckWrites`."""

    def ack(self, job: Job, run: int, event: Event) -> None:
        """Store the ack of that run's result, and that its group sends acks."""
        self._run("INSERT INTO acks (job_id, run, at) VALUES (?, ?, ?)", (job.id, run, event.at))
        self._run("UPDATE deliveries SET acked_at = ? WHERE job_id = ? AND run = ?", (event.at, job.id, run))
        self._run("INSERT INTO ack_groups (name, since) VALUES (?, ?) ON CONFLICT DO NOTHING", (job.group, event.at))
        self._add_event(event)
