"""What keeps the house in order: deadlines, signs of life, the purge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core import batched, fallback, machine
from ..core.job import Job
from ..ports import Unit, View, WorkerSeen
from . import endings, turning
from .budgets import Budgets, changed, settle
from .timekeeping import ago
from .values import Tools

_STEP = 100
#: A step of the purge ends after so many jobs, or so many bytes: it holds the writer for some hundredths of a second.
_PURGED, _PURGED_SIZE = 25, 2**20
_LONGEST_PAUSE = 2.0  # seconds


class Upkeep:
    """The use cases of a worker's housekeeping. Each works in small steps, so that nobody waits for it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def expire(self) -> Sequence[Job]:
        """End waiting jobs whose deadline has passed. A default deadline stands still while its job cannot run."""
        prices = self._tools.prices

        def late(view: View, limit: int) -> Sequence[Job]:
            stopped = any(hold.scope in ("pause", "park") for hold in view.holds())
            paused = [group.name for group in view.groups() if group.paused_at is not None]
            return view.overdue(
                limit=limit, asked_only=stopped, asked_only_in=paused, asked_only_of=Budgets(view, prices).out
            )

        def move(unit: Unit) -> list[Job]:
            return [endings.save(unit, machine.expire(job, now=unit.now), self._tools).job for job in late(unit, _STEP)]

        def end(unit: Unit) -> list[Job]:
            return [self._end_batched(unit, job) for job in unit.overdue_batched(limit=_STEP)]

        if self._store.read(lambda view: changed(view, prices)):
            self._store.write(lambda unit: settle(unit, prices))
        ended: list[Job] = []
        if self._store.read(lambda view: late(view, 1)):
            ended += self._store.write(move)
        if self._store.read(lambda view: view.overdue_batched(limit=1)):
            ended += self._store.write(end)

        return ended

    def turn(self) -> Sequence[Job]:
        """Let jobs ask another model whose own has been overloaded for long, where they may."""
        patience = self._tools.policy.fallback_after

        def move(unit: Unit) -> list[Job]:
            turned = []
            for job, model in turning.waiting_too_long(unit, patience):
                change = fallback.turn(job, model, why="overloaded", now=unit.now)
                unit.save(change)
                turned.append(change.job)
            return turned

        if not self._store.read(lambda view: turning.waiting_too_long(view, patience)):
            return []
        jobs = self._store.write(move)
        self._tools.bell.ring([job.id for job in jobs])

        return jobs

    def _end_batched(self, unit: Unit, job: Job) -> Job:
        call = unit.call(job.id, job.calls)
        assert call is not None  # opened in the transaction that put the job into its batch
        return endings.save(unit, batched.withdraw(job, call=call, now=unit.now, deadline=True), self._tools).job

    def purge(self, *, step_done: Callable[[], None] = lambda: None) -> int:
        """Erase what is past its time; answers how many jobs that were. `step_done` is called between small steps."""
        policy, erased, more = self._tools.policy, 0, True

        while more:
            began = time.monotonic()
            step, more = self._store.write(
                lambda unit: unit.purge(
                    done_before=ago(unit, policy.retention),
                    failed_before=ago(unit, policy.retention_failed),
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
            self._store.forget()

        return erased

    def _purge_rest(self, unit: Unit) -> None:
        unit.purge_tombstones(ago(unit, self._tools.policy.tombstones))
        unit.forget_gone_addresses(before=ago(unit, self._tools.policy.tombstones))
        unit.purge_batches()

    def forget(self) -> None:
        """What was erased is gone from the disk, too."""
        self._store.forget()

    def seen(self, worker: WorkerSeen) -> None:
        """A worker lives: by the store's clock, which is one for all machines."""
        self._store.write(lambda unit: unit.seen(replace(worker, seen_at=unit.now)))

    def workers(self) -> Sequence[WorkerSeen]:
        """Those that have shown life and not said goodbye."""
        return self._store.read(lambda view: view.workers())

    def gone(self, worker_id: str) -> None:
        """A worker has stopped, or is known to be dead."""
        self._store.write(lambda unit: unit.gone(worker_id))

    def answers(self) -> None:
        """Returns once the writer has answered: nothing is written. Raises `StoreUnavailable` where it cannot."""
        self._store.write(lambda unit: None)

    def remember(self, key: str, value: Any) -> None:
        """Keep a small value for the other processes."""
        self._store.write(lambda unit: unit.remember(key, value))
