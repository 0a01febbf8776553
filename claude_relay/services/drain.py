"""Drain of the relay before maintenance: no new jobs, and the wait until it is idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import wire
from ..core.jobs.holds import DRAIN, PAUSE, QueueHold
from ..core.jobs.job import State
from .holds import load_holds, paused_destinations, release

if TYPE_CHECKING:
    from ..ports import ReadTransaction, Transaction

#: Seconds until every API process has noticed the drain: each looks once a second.
_NOTICED = 2.0
#: A delivery that is due within so many seconds counts as due: that of a call which has just ended is.
_SOON = 2.0
#: Reason of the pause that belongs to a drain, shown as `waitingFor`.
_REASON = "draining"


def start(tx: Transaction, *, run_waiting: bool) -> None:
    """Refuse new jobs; unless `run_waiting`, start none of those that wait either."""
    tx.save_hold(QueueHold(scope=DRAIN, reason="no new jobs are accepted", since=tx.now))
    if not run_waiting:
        tx.save_hold(QueueHold(scope=PAUSE, reason=_REASON, since=tx.now))
    elif (pause := load_holds(tx).get(PAUSE)) is not None and pause.reason == _REASON:
        release(tx, PAUSE)


def drain_body(tx: ReadTransaction) -> dict[str, Any] | None:
    """The progress of a drain, None without one; `idle` once nothing runs, is due, or can still be accepted."""
    holds = load_holds(tx)
    drain = holds.get(DRAIN)
    if drain is None:
        return None
    counts = tx.counts()
    run_waiting = holds.get(PAUSE) is None
    body = {
        "running": counts.get(State.RUNNING, 0),
        "destinationsDue": _destinations_due(tx),
        "waiting": counts.get(State.QUEUED, 0) + counts.get(State.BATCHED, 0),
    }
    busy = body["running"] or body["destinationsDue"]
    if run_waiting:
        busy = busy or tx.oldest_waiting() is not None or counts.get(State.BATCHED, 0)

    return {
        "since": wire.timestamp(drain.since),
        "idle": not busy and tx.now - drain.since >= _NOTICED,
        "runWaiting": run_waiting,
        **body,
    }


def _destinations_due(tx: ReadTransaction) -> int:
    """Destinations to which a callback is being sent or is due; none that is slowed down or paused, for days."""
    names, paused = {delivery.destination for delivery in tx.sending_deliveries()}, paused_destinations(tx)
    for due in tx.due_destinations():
        if due.destination in paused:
            continue
        slowed = tx.destination(due.destination)
        if due.due_at <= tx.now + _SOON and (slowed is None or slowed.not_before <= tx.now + _SOON):
            names.add(due.destination)

    return len(names)
