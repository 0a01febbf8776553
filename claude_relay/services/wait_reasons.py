"""Why the jobs of one look wait, and at which place: what they have in common is looked up once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import wire
from ..core.batches import Batch
from ..core.jobs.job import Job, State
from ..core.jobs.wait_reason import wait_reason
from ..core.money.prices import PriceList
from ..core.money.spend import next_day
from ..ports import Group, ReadTransaction
from .budgets import SPENT, Budgets

_WAITING = (State.QUEUED, State.HELD, State.BATCHED)


class WaitReasons:
    """A page may show hundreds of jobs, of a hundred thousand that wait."""

    def __init__(self, tx: ReadTransaction, jobs: Sequence[Job], prices: PriceList) -> None:
        self._tx = tx
        waiting = [job for job in jobs if job.state in _WAITING]
        self._places = _places(tx, waiting)
        if waiting:
            self._holds = {hold.scope: (hold.reason, hold.until) for hold in tx.holds()}
            self._groups = {group.name: group for group in tx.groups()}
            self._running = tx.running_by_group()
            self._budgets = Budgets(tx, prices)

    def reason(self, job: Job) -> str | None:
        """In the words of `waitingFor`; None where it does not wait, or for nothing but a free slot."""
        if job.state not in _WAITING:
            return None
        group = self._groups.get(job.group, Group(name=job.group))

        return wait_reason(
            job,
            now=self._tx.now,
            holds=self._holds,
            group_paused=group.paused_at is not None,
            group_full=group.concurrency is not None and self._running.get(job.group, 0) >= group.concurrency,
            budget=self._budget(job),
            batch=batch_of(self._tx, job),
        )

    def position(self, job: Job) -> int | None:
        """The how-manieth it is to be called; None where it does not wait for that."""
        return self._places.get(job.id)

    def _budget(self, job: Job) -> str | None:
        why = self._budgets.reason(job)
        if why != SPENT:
            return why

        return f"{why} until {wire.timestamp(next_day(self._tx.now))[:19]}Z"


def batch_of(tx: ReadTransaction, job: Job) -> Batch | None:
    """The batch that a job is in now."""
    item = tx.item_of_call(job.id, job.calls) if job.state is State.BATCHED else None

    return tx.batch(item.batch_id) if item else None


def _places(tx: ReadTransaction, jobs: Sequence[Job]) -> dict[str, int]:
    """Each counted on from the one before it, so that the queue is walked along once and not once for each."""
    places: dict[str, int] = {}
    ahead, before = 0, None
    for job in sorted(
        (one for one in jobs if one.state is State.QUEUED and one.lane == "live"), key=lambda one: one.rank
    ):
        ahead += tx.count_ahead(job, after=before)
        places[job.id] = ahead + 1
        before = job

    return places
