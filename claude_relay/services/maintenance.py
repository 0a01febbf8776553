"""What keeps the house in order: deadlines, signs of life, the purge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core.jobs import batch_transitions, fallback, transitions
from ..core.jobs.holds import Holds
from ..core.jobs.job import Job
from ..ports import ReadTransaction, Transaction, WorkerHeartbeat
from . import model_fallback, outcomes
from .budgets import Budgets, changed, release_reservation
from .clock_step import cutoff
from .context import Context

_STEP = 100
#: A step of the purge ends after so many jobs, or so many bytes: it holds the writer for some hundredths of a second.
_PURGED, _PURGED_SIZE = 25, 2**20
_LONGEST_PAUSE = 2.0  # seconds


class Maintenance:
    """The use cases of a worker's housekeeping. Each works in small steps, so that nobody waits for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def expire(self) -> Sequence[Job]:
        """End waiting jobs whose deadline has passed. A default deadline stands still while its job cannot run."""
        prices = self._context.prices

        def late(tx: ReadTransaction, limit: int) -> Sequence[Job]:
            stopped = bool(Holds(tx.holds(), tx.now).queue_wide)
            paused = [group.name for group in tx.groups() if group.paused_at is not None]
            return tx.past_deadline(
                limit=limit, asked_only=stopped, asked_only_in=paused, asked_only_of=Budgets(tx, prices).out
            )

        def move(tx: Transaction) -> list[Job]:
            return [
                outcomes.save_transition(tx, transitions.expire(job, now=tx.now), self._context).job
                for job in late(tx, _STEP)
            ]

        def end(tx: Transaction) -> list[Job]:
            return [self._end_batched(tx, job) for job in tx.batched_past_deadline(limit=_STEP)]

        if self._store.read(lambda tx: changed(tx, prices)):
            self._store.write(lambda tx: release_reservation(tx, prices))
        ended: list[Job] = []
        if self._store.read(lambda tx: late(tx, 1)):
            ended += self._store.write(move)
        if self._store.read(lambda tx: tx.batched_past_deadline(limit=1)):
            ended += self._store.write(end)

        return ended

    def apply_fallbacks(self) -> Sequence[Job]:
        """Let jobs ask another model whose own has been overloaded for long, where they may."""
        patience = self._context.policy.fallback_after

        def move(tx: Transaction) -> list[Job]:
            turned = []
            for job, model in model_fallback.due_for_fallback(tx, patience):
                change = fallback.switch_model(job, model, why="overloaded", now=tx.now)
                tx.save(change)
                turned.append(change.job)
            return turned

        if not self._store.read(lambda tx: model_fallback.due_for_fallback(tx, patience)):
            return []
        jobs = self._store.write(move)
        self._context.notifier.notify([job.id for job in jobs])

        return jobs

    def _end_batched(self, tx: Transaction, job: Job) -> Job:
        call = tx.call(job.id, job.calls)
        assert call is not None  # opened in the transaction that put the job into its batch
        return outcomes.save_transition(
            tx, batch_transitions.end_in_batch(job, call=call, now=tx.now, deadline=True), self._context
        ).job

    def purge(self, *, step_done: Callable[[], None] = lambda: None) -> int:
        """Erase what is past its time; answers how many jobs that were. `step_done` is called between small steps."""
        policy, erased, more = self._context.policy, 0, True

        while more:
            began = time.monotonic()
            step, more = self._store.write(
                lambda tx: tx.purge(
                    done_before=cutoff(tx, policy.retention),
                    failed_before=cutoff(tx, policy.retention_failed),
                    limit=_PURGED,
                    size=_PURGED_SIZE,
                )
            )
            erased += step
            step_done()
            if more:  # the others have as much of the writer as we had
                time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE))
        self._store.write(self._purge_rest)
        if erased:
            self._store.scrub()

        return erased

    def _purge_rest(self, tx: Transaction) -> None:
        tx.purge_tombstones(cutoff(tx, self._context.policy.tombstones))
        tx.delete_gone_addresses(before=cutoff(tx, self._context.policy.tombstones))
        tx.purge_batches()

    def scrub(self) -> None:
        """What was erased is gone from the disk, too."""
        self._store.scrub()

    def heartbeat(self, worker: WorkerHeartbeat) -> None:
        """A worker lives: by the store's clock, which is one for all machines."""
        self._store.write(lambda tx: tx.save_heartbeat(replace(worker, seen_at=tx.now)))

    def workers(self) -> Sequence[WorkerHeartbeat]:
        """Those that have shown life and not said goodbye."""
        return self._store.read(lambda tx: tx.workers())

    def deregister(self, worker_id: str) -> None:
        """A worker has stopped, or is known to be dead."""
        self._store.write(lambda tx: tx.delete_worker(worker_id))

    def ping_writer(self) -> None:
        """Returns once the writer has answered: nothing is written. Raises `StoreUnavailable` where it cannot."""
        self._store.write(lambda tx: None)

    def set_shared(self, key: str, value: Any) -> None:
        """Keep a small value for the other processes."""
        self._store.write(lambda tx: tx.set_shared_value(key, value))
