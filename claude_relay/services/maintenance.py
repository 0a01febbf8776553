"""Housekeeping: deadlines, model fallback, worker heartbeats and the purge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.collections import collection as rules
from ..core.collections.collection import Phase, begin_purge
from ..core.jobs import batch_transitions, fallback, transitions
from ..core.jobs.holds import Holds
from ..core.retention import PurgeCutoffs
from ..core.step_size import StepSize
from . import model_fallback, outcomes
from .budgets import Budgets, changed, release_reservation
from .clock_step import cutoff
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..ports import ReadTransaction, Transaction, WorkerHeartbeat
    from .context import Context

_STEP = 100
#: A step of the purge occupies the writer for about so many seconds, and ends after so many bytes: erased content is
#: overwritten. By its number of jobs, or of pages that are given back to the disk.
_STEP_SECONDS, _STEP_BYTES = 0.015, 2**20
_JOBS, _PAGES = (StepSize(size=8 * n, least=8 * n, most=128 * n, seconds=_STEP_SECONDS) for n in (1, 4))
_MAX_PAUSE = 2.0  # seconds
#: The purge looks at so many finished jobs at once, oldest first: a read, for which nothing waits.
_WINDOW = 500
Place = tuple[float, str] | None
_OLDEST: Place = (-1.0, "")


class Maintenance:
    """Housekeeping of a worker. Works in small steps, so that other writers wait only briefly."""

    def __init__(
        self,
        context: Context,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._context = context
        self._store = context.store
        self._clock, self._sleep = clock, sleep

    def expire(self) -> Sequence[Job]:
        """End waiting jobs whose deadline has passed. A default deadline does not run while its job is blocked."""
        budgets_changed, overdue, overdue_in_batch = self._look_for_overdue()
        if budgets_changed:
            self._release_reservations()
            _, overdue, overdue_in_batch = self._look_for_overdue()
        ended: list[Job] = []
        if overdue:
            ended += self._expire_overdue()
        if overdue_in_batch:
            ended += self._expire_in_batch()

        return ended

    def apply_fallbacks(self) -> Sequence[Job]:
        """Switch jobs whose model has been overloaded for long to their next fallback model."""
        if not self._has_fallbacks_due():
            return []
        jobs = self._switch_models()
        self._context.notifier.notify([job.id for job in jobs])

        return jobs

    def purge(self, *, step_done: Callable[[], None] = lambda: None) -> int:
        """Erase what is past its retention; returns the number of jobs. `step_done` is called between small steps."""
        erased, step, place = 0, _JOBS, _OLDEST
        while place is not None:
            jobs, place = self._purgeable(place)
            while jobs:
                started = self._clock()
                count, rest = self._purge_step(jobs[: step.size])
                erased, jobs = erased + count, [*rest, *jobs[step.size :]]
                if jobs or place:
                    step = self._pause(step, started)
                step_done()
        more = True
        while more:
            started = self._clock()
            count, more = self._purge_collection(step.size)
            erased += count
            if more:
                step = self._pause(step, started)
                step_done()
        self._purge_rest()
        if erased:
            self._give_back(step_done)
            self._store.scrub()

        return erased

    def _give_back(self, step_done: Callable[[], None]) -> None:
        """Give free space back to the disk."""
        step, started = _PAGES, self._clock()
        while self._store.give_back(step.size):
            step = self._pause(step, started)
            started = self._clock()
            step_done()

    def _pause(self, step: StepSize, started: float) -> StepSize:
        """Let other writers have as much time as the step took; returns the size of the next one."""
        took = self._clock() - started
        self._sleep(min(took, _MAX_PAUSE))

        return step.after(took)

    def erase_rows(self) -> int:
        """Erase the content of rows that are to be kept as metadata only, once their collection was delivered."""
        erased = 0
        while self._has_erasable_rows() and (count := self._erase_rows()):
            erased += count

        return erased

    def scrub(self) -> None:
        """Remove erased data from the disk, too."""
        self._store.scrub()

    @transaction
    def heartbeat(self, tx: Transaction, worker: WorkerHeartbeat) -> None:
        """Record that a worker lives, by the store's clock, which is the same for all machines."""
        tx.save_heartbeat(replace(worker, seen_at=tx.now))

    @query
    def workers(self, tx: ReadTransaction) -> Sequence[WorkerHeartbeat]:
        """Workers that are registered, dead ones included."""
        return tx.workers()

    @transaction
    def deregister(self, tx: Transaction, worker_id: str) -> None:
        """Remove a worker that has stopped or is dead."""
        tx.delete_worker(worker_id)

    @transaction
    def ping_writer(self, tx: Transaction) -> None:
        """Return once the writer has answered; writes nothing. Raises `StoreUnavailable` where it cannot."""

    @transaction
    def set_shared(self, tx: Transaction, key: str, value: Any) -> None:
        """Store a small value for the other processes."""
        tx.set_shared_value(key, value)

    @query
    def _look_for_overdue(self, tx: ReadTransaction) -> tuple[bool, bool, bool]:
        """Whether budgets have changed, jobs are overdue, or jobs in a batch are: one read, each second."""
        in_batch = bool(tx.batched_past_deadline(limit=1))

        return changed(tx, self._context.prices), bool(self._overdue(tx, 1)), in_batch

    @transaction
    def _release_reservations(self, tx: Transaction) -> None:
        release_reservation(tx, self._context.prices)

    @transaction
    def _expire_overdue(self, tx: Transaction) -> Sequence[Job]:
        return [
            outcomes.save_transition(tx, transitions.expire(job, now=tx.now), self._context).job
            for job in self._overdue(tx, _STEP)
        ]

    def _overdue(self, tx: ReadTransaction, limit: int) -> Sequence[Job]:
        stopped = bool(Holds(tx.holds(), tx.now).queue_wide)
        paused = [group.name for group in tx.groups() if group.paused_at is not None]
        spent = Budgets(tx, self._context.prices).out

        return tx.past_deadline(limit=limit, asked_only=stopped, asked_only_in=paused, asked_only_of=spent)

    @transaction
    def _expire_in_batch(self, tx: Transaction) -> Sequence[Job]:
        return [self._end_in_batch(tx, job) for job in tx.batched_past_deadline(limit=_STEP)]

    def _end_in_batch(self, tx: Transaction, job: Job) -> Job:
        call = tx.call(job.id, job.calls)
        assert call is not None  # opened in the transaction that put the job into its batch
        change = batch_transitions.end_in_batch(job, call=call, now=tx.now, deadline=True)

        return outcomes.save_transition(tx, change, self._context).job

    @query
    def _has_fallbacks_due(self, tx: ReadTransaction) -> bool:
        return bool(model_fallback.due_for_fallback(tx, self._context.policy.fallback_after))

    @transaction
    def _switch_models(self, tx: Transaction) -> Sequence[Job]:
        switched = []
        for job, model in model_fallback.due_for_fallback(tx, self._context.policy.fallback_after):
            change = fallback.switch_model(job, model, why="overloaded", now=tx.now)
            tx.save(change)
            switched.append(change.job)

        return switched

    @query
    def _purgeable(self, tx: ReadTransaction, after: tuple[float, str]) -> tuple[Sequence[str], Place]:
        return tx.purgeable(self._cutoffs(tx), after=after, limit=_WINDOW)

    @transaction
    def _purge_step(self, tx: Transaction, jobs: Sequence[str]) -> tuple[int, Sequence[str]]:
        return tx.purge(jobs, self._cutoffs(tx), size=_STEP_BYTES)

    def _cutoffs(self, tx: ReadTransaction) -> PurgeCutoffs:
        policy = self._context.policy

        return PurgeCutoffs(done_before=cutoff(tx, policy.retention), failed_before=cutoff(tx, policy.retention_failed))

    @transaction
    def _purge_collection(self, tx: Transaction, limit: int) -> tuple[int, bool]:
        """Erase some rows of a collection past its retention, and the collection once it has none."""
        collection = next(iter(tx.collections_in(Phase.PURGING)), None)
        if collection is None:
            cutoffs = self._cutoffs(tx)
            collection = tx.purgeable_collection(done_before=cutoffs.done_before, failed_before=cutoffs.failed_before)
            if collection is None:
                return 0, False
            tx.save_collection(begin_purge(collection))
        rows = tx.rows(collection.id, limit=limit)
        tx.purge_jobs([row.id for row in rows])
        if rows:
            return len(rows), True
        tx.delete_collection(collection.id)
        tx.purge_jobs([collection.id], ended=rules.ended_state(collection))

        return 0, True

    @transaction
    def _erase_rows(self, tx: Transaction) -> int:
        """Erase content of rows whose collection was delivered (`retain: metadata`)."""
        rows = tx.erasable_rows(limit=_STEP)
        for row in rows:
            tx.erase_content(row)

        return len(rows)

    @query
    def _has_erasable_rows(self, tx: ReadTransaction) -> bool:
        return bool(tx.erasable_rows(limit=1))

    @transaction
    def _purge_rest(self, tx: Transaction) -> None:
        oldest = cutoff(tx, self._context.policy.tombstones)
        tx.purge_tombstones(oldest)
        tx.purge_shares()
        tx.delete_gone_urls(before=oldest)
        tx.purge_batches()
        tx.purge_templates()
