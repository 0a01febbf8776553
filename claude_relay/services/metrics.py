"""Metrics: what workers report, and the state of the relay in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.collections.collection import Phase, status_of
from ..core.jobs.holds import Holds
from ..core.lazy_dataclass import dataclass
from ..core.money.spend import SpendSummary
from .collection_end import tally
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.deliveries.destination import Destination
    from ..core.jobs.job import State
    from ..core.metrics import Series
    from ..ports import ReadTransaction, Store, Transaction, WorkerHeartbeat

#: Collections whose rows are counted for their status.
_MAX_TALLIES = 10


@dataclass(frozen=True, kw_only=True)
class MetricsSnapshot:
    """The state of the relay at one moment."""

    now: float
    jobs: Mapping[tuple[State, str], int]
    oldest_waiting: Mapping[str, float]
    series: Sequence[tuple[Series, float]]
    spend: Sequence[tuple[str, SpendSummary]]  # with the outcome
    deliveries: Mapping[str, int]
    unacked: int
    workers: Sequence[WorkerHeartbeat]
    parked: Sequence[str]
    destinations: Sequence[Destination]
    latest_destinations: Sequence[str]
    collections: Mapping[str, int]


class Metrics:
    """Reports of workers, and reads for `/metrics`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @transaction
    def report(self, tx: Transaction, added: Mapping[Series, float], gauges: Mapping[Series, float]) -> None:
        """Add what a worker has counted since its last report, and store its gauges."""
        tx.add_metrics(added)
        tx.set_metrics(gauges)

    @query
    def snapshot(self, tx: ReadTransaction, max_destinations: int) -> MetricsSnapshot:
        """The present state."""
        return MetricsSnapshot(
            now=tx.now,
            jobs=tx.counts_by_group(),
            oldest_waiting=tx.oldest_waiting_by_group(),
            series=tx.metrics(),
            spend=tx.costs_by_outcome(),
            deliveries=tx.delivery_counts(),
            unacked=tx.unacked(),
            workers=tx.workers(),
            parked=[hold.reason for hold in Holds(tx.holds(), tx.now).queue_wide],
            destinations=tx.destinations(),
            latest_destinations=tx.latest_destinations(max_destinations),
            collections=_collections(tx),
        )


def _collections(tx: ReadTransaction) -> Mapping[str, int]:
    """Collections by status; of many that have not ended, the later ones count as `processing`."""
    counts = Counter(tx.ended_collections())
    for number, collection in enumerate(tx.collections_in(Phase.OPEN, Phase.CLOSED, Phase.RETRYING)):
        counts[status_of(collection, tally(tx, collection)) if number < _MAX_TALLIES else "processing"] += 1

    return counts
