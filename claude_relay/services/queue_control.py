"""Pause and resume the queue or one group, and set the limits of a group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.intake.group import check_group_name
from ..core.jobs.holds import DRAIN, PAUSE, QUEUE_WIDE, QueueHold
from ..errors import InvalidRequest, Problem
from . import drain, holds, upstream_circuit
from .transactions import transaction

if TYPE_CHECKING:
    from ..ports import Group, Transaction
    from .context import Context

#: The largest number that an INTEGER column of PostgreSQL holds; SQLite's are larger.
MAX_CONCURRENCY = 2**31 - 1
#: Outside these, the time to the next start is beyond any calendar, or zero.
_RATES = (0.000001, 1_000_000_000)


class QueueControl:
    """Actions of the operator on the queue and its groups."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def pause(self, group: str | None = None) -> None:
        """Claim no more jobs of a group, or (None) of any; see `Relay.pause`."""
        if group is None:
            self._pause_queue()
        else:
            self._pause_group(check_group_name(group))

    def resume(self, group: str | None = None) -> None:
        """Claim jobs again; see `Relay.resume`."""
        if group is None:
            self._resume_queue()
        else:
            self._resume_group(check_group_name(group))
        self._context.notifier.notify()

    def drain(self, *, run_waiting: bool = False) -> None:
        """Accept no more jobs; see `Relay.drain`."""
        self._drain_queue(run_waiting)
        self._context.notifier.notify()

    def set_group(self, name: str, *, concurrency: int | None, rate: float | None) -> Group:
        """Set the limits of a group; see `Relay.set_group`."""
        problems = []
        if concurrency is not None and concurrency < 1:
            problems.append(Problem(field="concurrency", problem="must be 1 or more; pause the group to stop it"))
        elif concurrency is not None and concurrency > MAX_CONCURRENCY:
            problems.append(Problem(field="concurrency", problem=f"must be at most {MAX_CONCURRENCY:,}"))
        if rate is not None and not rate > 0:
            problems.append(
                Problem(field="rate", problem="must be more than 0 jobs a minute; pause the group to stop it")
            )
        elif rate is not None and not _RATES[0] <= rate <= _RATES[1]:
            problem = f"must be from {_RATES[0]:f} to {_RATES[1]:,} jobs a minute"
            problems.append(Problem(field="rate", problem=problem))
        if problems:
            raise InvalidRequest(problems=problems)

        group = self._save_limits(check_group_name(name), concurrency, rate)
        self._context.notifier.notify()

        return group

    @transaction
    def _pause_queue(self, tx: Transaction) -> None:
        tx.save_hold(QueueHold(scope=PAUSE, reason="paused", since=tx.now))

    @transaction
    def _drain_queue(self, tx: Transaction, run_waiting: bool) -> None:
        drain.start(tx, run_waiting=run_waiting)

    @transaction
    def _pause_group(self, tx: Transaction, name: str) -> None:
        group = tx.group(name)
        if group.paused_at is None:
            tx.save_group(replace(group, paused_at=tx.now))

    @transaction
    def _resume_queue(self, tx: Transaction) -> None:
        tx.delete_hold(DRAIN)
        holds.release(tx, *QUEUE_WIDE)
        upstream_circuit.record_success(tx)  # whether or not it is: the operator wants a call to be tried now

    @transaction
    def _resume_group(self, tx: Transaction, name: str) -> None:
        group = tx.group(name)
        if group.paused_at is not None:
            holds.release_group(tx, name, group.paused_at)
            tx.save_group(replace(group, paused_at=None))

    @transaction
    def _save_limits(self, tx: Transaction, name: str, concurrency: int | None, rate: float | None) -> Group:
        group = replace(tx.group(name), concurrency=concurrency, rate=rate, next_at=tx.now)
        tx.save_group(group)

        return group
