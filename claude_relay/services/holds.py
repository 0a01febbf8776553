"""Probes through holds, and their release: default deadlines get back the time that a hold took."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.jobs.holds import PARK, QUEUE_WIDE, UNREACHABLE, HoldKind, Holds, HoldScope, QueueHold

if TYPE_CHECKING:
    from ..ports import ReadTransaction, Transaction

#: Seconds between two probes of a parked queue, and the longest pause, though Anthropic may name a date at the end of
#: the month: a limit can be raised before it ends.
PROBE_EVERY, MAX_PROBE_DELAY = 300.0, 3600.0
#: Seconds that a probe of the connection may take: it is made or given up by then.
CONNECT_PROBE = 15.0


def load_holds(tx: ReadTransaction) -> Holds:
    """The holds at this transaction's time."""
    return Holds(tx.holds(), tx.now)


def paused_destinations(tx: ReadTransaction) -> dict[str, QueueHold]:
    """The destinations that an operator has paused."""
    return load_holds(tx).of_kind(HoldKind.DESTINATION)


def start_probes(tx: Transaction, holds: Holds) -> None:
    """Hold back everything else while one job or batch tests whether the key works and Anthropic can be reached."""
    if (park := holds.get(PARK)) is not None:
        tx.save_hold(replace(park, until=tx.now + PROBE_EVERY))
    if (unreachable := holds.get(UNREACHABLE)) is not None:
        tx.save_hold(replace(unreachable, until=tx.now + CONNECT_PROBE))


def release(tx: Transaction, *scopes: HoldScope) -> None:
    """
    End those holds of the whole queue.

    Each moment is given back once: the time that another hold still covers is left for that one's end.
    """
    ended = [hold for scope in scopes if (hold := tx.delete_hold(scope)) is not None]
    if not ended:
        return
    since = min(hold.since for hold in ended)
    until = _uncovered_until(tx)
    paused = {group.name: group.paused_at for group in tx.groups() if group.paused_at is not None}
    tx.postpone_deadlines(since=since, until=until, besides=list(paused))
    for name, paused_at in paused.items():
        tx.postpone_deadlines(since=since, until=min(until, paused_at), group=name)


def release_owner(tx: Transaction, owner: str, since: float) -> None:
    """End the wait of an owner's jobs for the next day's budget, in the same way."""
    tx.postpone_deadlines(since=since, until=_uncovered_until(tx), owner=owner)


def release_group(tx: Transaction, name: str, paused_at: float) -> None:
    """End a group's pause, in the same way."""
    tx.postpone_deadlines(since=paused_at, until=_uncovered_until(tx), group=name)


def _uncovered_until(tx: Transaction) -> float:
    """Now, or the start of the earliest hold of the whole queue that goes on."""
    return min([tx.now, *(hold.since for hold in tx.holds() if hold.scope in QUEUE_WIDE)])
