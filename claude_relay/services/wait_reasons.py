"""
Why jobs wait, and their places in the queue.

Rows that several jobs share are read once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core import wire
from ..core.jobs.fairness import count_by
from ..core.jobs.job import Job, State
from ..core.jobs.wait_reason import MAX_POSITION, wait_reason, with_many_ahead
from ..core.money.spend import next_day
from ..ports import Group, ReadTransaction
from .budgets import SPENT, Budgets
from .holds import load_holds

if TYPE_CHECKING:
    from ..core.batches import Batch
    from ..core.money.prices import PriceList

_WAITING = (State.QUEUED, State.HELD, State.BATCHED)


class WaitReasons:
    """Reasons and places of one page of jobs: a page may show hundreds of a hundred thousand that wait."""

    def __init__(self, tx: ReadTransaction, jobs: Sequence[Job], prices: PriceList) -> None:
        self._tx = tx
        waiting = [job for job in jobs if job.state in _WAITING]
        self._positions = _positions(tx, waiting)
        if waiting:
            self._holds = load_holds(tx)
            self._groups = {group.name: group for group in tx.groups()}
            self._running = count_by("group", tx.running_by_flow())
            self._budgets = Budgets(tx, prices)

    def reason(self, job: Job) -> str | None:
        """In the words of `waitingFor`; None where it does not wait, or for nothing but a free slot."""
        if job.state not in _WAITING:
            return None
        group = self._groups.get(job.group, Group(name=job.group))
        reason = wait_reason(
            job,
            now=self._tx.now,
            holds=self._holds,
            group_paused=group.paused_at is not None,
            group_full=group.concurrency is not None and self._running[job.group] >= group.concurrency,
            budget=self._budget_reason(job),
            batch=batch_of(self._tx, job),
        )
        counted = job.id not in self._positions or self._positions[job.id] is not None

        return reason if counted else with_many_ahead(reason)

    def position(self, job: Job) -> int | None:
        """Its place among the waiting jobs of its key, from 1 to MAX_POSITION; None beyond, or if it has none."""
        return self._positions.get(job.id)

    def _budget_reason(self, job: Job) -> str | None:
        reason = self._budgets.reason(job)
        if reason != SPENT:
            return reason

        return f"{reason} until {wire.timestamp(next_day(self._tx.now))[:19]}Z"


def batch_of(tx: ReadTransaction, job: Job) -> Batch | None:
    """The batch that a job is in now."""
    item = tx.item_of_call(job.id, job.calls) if job.state is State.BATCHED else None

    return tx.batch(item.batch_id) if item else None


def _positions(tx: ReadTransaction, jobs: Sequence[Job]) -> dict[str, int | None]:
    """
    The place of each among the waiting jobs of its share (its key, or its collection): others are not counted.

    Each is counted on from the previous one. The queue is then walked once, and not once for each job; beyond
    MAX_POSITION it is not walked, and the places are None.
    """
    positions: dict[str, int | None] = {}
    queued = [job for job in jobs if job.state is State.QUEUED and job.lane == "live"]
    for share in dict.fromkeys(job.flow.share for job in queued):
        flows = tx.flows_of(share)
        ahead, previous = 0, None
        own = (job for job in queued if job.flow.share == share)
        for job in sorted(own, key=lambda job: (job.rank, job.id)):
            if ahead < MAX_POSITION:
                ahead += tx.count_ahead(job, flows, after=previous, limit=MAX_POSITION - ahead)
            positions[job.id] = ahead + 1 if ahead < MAX_POSITION else None
            previous = job

    return positions
