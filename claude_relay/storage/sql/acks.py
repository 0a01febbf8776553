"""Which results were applied, and which were delivered and nobody has said so."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.deliveries.delivery import Delivery
from . import records
from .query import QueryBase, fetch_all

# By an index of what lacks an ack, in groups where an ack has ever been seen: elsewhere nobody sends any.
_UNACKED = """
FROM deliveries d INDEXED BY deliveries_unacked JOIN jobs j ON j.id = d.job_id AND j.run = d.run
WHERE d.state = 'delivered' AND d.acked_at IS NULL AND d.grp IN (SELECT name FROM ack_groups)"""
UNREMINDED = f"""
SELECT {records.columns(records.DELIVERY, "d.")} {_UNACKED}
AND d.reminded_at IS NULL AND d.finished_at <= ? AND j.retain = 'full' LIMIT ?"""


class AckReads(QueryBase):
    """That part of `ports.View`."""

    def acked_at(self, job_id: str, run: int) -> float | None:
        """When that run's result was said to be applied."""
        return self._value("SELECT at FROM acks WHERE job_id = ? AND run = ?", (job_id, run))

    def acks_expected(self, group: str) -> bool:
        """Whether that group's results are acknowledged: one has ever been."""
        return self._value("SELECT 1 FROM ack_groups WHERE name = ?", (group,)) is not None

    def unacked_deliveries(self, *, before: float, limit: int) -> Sequence[Delivery]:
        """Latest runs' results that were delivered before then, can be sent again, and were not reminded of yet."""
        return fetch_all(records.to_delivery, self._run(UNREMINDED, (before, limit)))

    def unacked(self) -> int:
        """How many results were delivered and not acknowledged, where they usually are."""
        return int(self._value(f"SELECT count(*) {_UNACKED}", ()) or 0)
