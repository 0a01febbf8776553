"""The order of claiming: fair between keys, by rank within one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..core.jobs.fairness import FairQueue, Flow, WaitingFlow, count_by
from ..core.jobs.job import Job, State

if TYPE_CHECKING:
    from ..ports import ReadTransaction, Transaction
    from .budgets import Budgets
    from .claim_limits import ClaimLimiter

#: Flows of one share (its groups and families) that are read at once.
_FLOWS_AT_ONCE = 8


class ClaimOrder:
    """The next jobs of all keys, while a claim goes on."""

    def __init__(self, tx: ReadTransaction, limits: ClaimLimiter, budgets: Budgets, *, limit: int) -> None:
        self._tx, self._limits, self._budgets, self._limit = tx, limits, budgets, limit
        self._queue: FairQueue | None = None
        self._last: Sequence[WaitingFlow] | None = None  # no others begin to wait while the claim goes on
        self.seen: Sequence[Flow] = ()
        self.exhausted = False  # whether all due jobs that may start were returned

    def next(self, limit: int) -> Sequence[Job]:
        """Up to `limit` due jobs whose group, family and owner have capacity; none once there are no more."""
        if self._last is not None and not any(self._may_start(item.flow) for item in self._last):
            return []
        self._last, tags = self._tx.waiting_flows()
        waiting = [item for item in self._last if self._may_start(item.flow)]
        if not waiting:
            return []
        if self._queue is None:
            self._queue = self._fair_queue(tags)
        turns = self._queue.turns(waiting, limit)

        jobs = self._first_jobs(waiting, Counter(turns))
        chosen = [jobs[share].pop() for share in turns if jobs[share]]
        self.exhausted = self.exhausted and not any(jobs.values())

        return chosen

    def count_start(self, job: Job) -> None:
        """Count a job that was claimed."""
        if self._queue is not None:
            self._queue.count_start(job.flow.share)

    def save(self, tx: Transaction) -> None:
        """Save the tags of the shares that started jobs."""
        if self._queue is not None and (changed := self._queue.changed):
            tx.save_shares(changed)

    def _may_start(self, flow: Flow) -> bool:
        budgets = self._budgets
        blocked = flow.owner in budgets.blocked_owners or flow.collection in budgets.blocked_collections

        return not blocked and not self._limits.blocks(flow)

    def _fair_queue(self, tags: dict[str, float]) -> FairQueue:
        weights = {key.name: key.weight for key in self._tx.api_keys()}
        running = count_by("owner", self._limits.running)

        return FairQueue(tags, weights=weights, running=running, slots=sum(running.values()) + self._limit)

    def _first_jobs(self, waiting: Sequence[WaitingFlow], counts: Counter[str]) -> dict[str, list[Job]]:
        """The first jobs of those shares, the last one first; fewer where a share has more flows than are read."""
        limits: dict[Flow, int] = {}
        last_ranks: dict[str, float] = {}
        for share, count in counts.items():
            flows = sorted((item for item in waiting if item.flow.share == share), key=lambda item: item.rank)
            limits |= {item.flow: count for item in flows[:_FLOWS_AT_ONCE]}
            # A job behind the first one of a flow that is not read has to wait for it.
            last_ranks[share] = flows[_FLOWS_AT_ONCE].rank if len(flows) > _FLOWS_AT_ONCE else float("inf")
        jobs: dict[str, list[Job]] = {share: [] for share in counts}
        self.seen = tuple(limits)
        due = self._tx.due(limits)
        counted = Counter(job.flow for job in due)
        self.exhausted = len(limits) == len(waiting) and all(counted[flow] < most for flow, most in limits.items())
        for job in sorted(due, key=lambda job: (job.rank, job.id), reverse=True):
            if job.rank <= last_ranks[job.flow.share]:
                jobs[job.flow.share].append(job)

        return jobs


def look_ahead(reads: ReadTransaction, flows: Sequence[Flow], limit: int) -> None:
    """The look-ups of a claim in those flows. With several shares their turns are not known in advance."""
    reads.waiting_flows()
    if len({flow.share for flow in flows}) == 1:
        reads.due(dict.fromkeys(flows, limit))


def named(
    tx: ReadTransaction, ids: Collection[str], limits: ClaimLimiter, blocked_owners: Collection[str]
) -> Sequence[Job]:
    """Those of the named jobs that can be claimed now, by rank. They were just announced: no others wait."""
    jobs = [job for job in map(tx.intact_job, ids) if job is not None]
    due = [
        job
        for job in jobs
        if job.state is State.QUEUED
        and job.lane == "live"
        and job.owner not in blocked_owners
        and job.due_at <= tx.now
        and not limits.blocks(job.flow)
    ]
    return sorted(due, key=lambda job: (job.rank, job.id))
