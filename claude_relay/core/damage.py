"""The note of damaged content that processes share, and a running job rebuilt from its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .jobs.attempts import add_costs
from .jobs.change import Call
from .jobs.events import Event, EventName
from .jobs.job import Job, Lease, OnInterrupt, State

#: The shared value with the note.
KEY = "damage"


def add(note: Any, what: str, *, now: float) -> dict[str, Any]:
    """The note with another case. It keeps the first one, and counts the others."""
    if not isinstance(note, dict):
        return {"since": now, "what": what, "count": 1}

    return {**note, "count": note.get("count", 0) + 1}


def rebuilt(job: Job, calls: Sequence[Call], events: Sequence[Event]) -> Job | None:
    """
    The job of a damaged row, as ledger and events have it.

    Its call may have to be paid for, and is not repeated. None where no live call of it is open.
    """
    moves = [event for event in events if event.subject == "job"]
    if not moves or not calls or calls[-1].outcome is not None or calls[-1].mode != "live":
        return None
    call = calls[-1]
    cost = None
    for earlier in calls[:-1]:
        cost = add_costs(cost, earlier.cost_usd) if earlier.run == call.run else cost
    last = moves[-1]

    return replace(
        job,
        state=State.RUNNING,
        version=last.version,
        created_at=moves[0].at,
        updated_at=last.at,
        due_at=call.started_at,
        on_interrupt=OnInterrupt.PARTIAL,
        run=call.run,
        run_started_at=next(each.started_at for each in calls if each.run == call.run),
        calls=call.number,
        model=call.model,
        sent=True,
        ambiguous=True,
        cancel_requested_at=last.at if last.name is EventName.CANCEL_REQUESTED else None,
        lease=Lease(worker=call.worker, token=call.worker, expires_at=last.at),
        cost_usd=cost,
    )
