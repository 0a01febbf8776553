"""What stands still gives its time back: pauses and the park, which may overlap, and default deadlines."""

from __future__ import annotations

from ..ports import QueueHold, Transaction

#: The holds that stop the whole queue.
QUEUE_WIDE = ("pause", "park")


def release(tx: Transaction, *scopes: str) -> list[QueueHold]:
    """
    End those holds of the whole queue; answers which there were.

    Each moment is given back once: what another hold still covers is left for its own end.
    """
    ended = [hold for scope in scopes if (hold := tx.delete_hold(scope)) is not None]
    if not ended:
        return []
    since = min(hold.since for hold in ended)
    until = min([tx.now, *(hold.since for hold in tx.holds() if hold.scope in QUEUE_WIDE)])
    paused = {group.name: group.paused_at for group in tx.groups() if group.paused_at is not None}
    tx.postpone_deadlines(since=since, until=until, besides=list(paused))
    for name, paused_at in paused.items():
        tx.postpone_deadlines(since=since, until=min(until, paused_at), group=name)

    return ended


def release_owner(tx: Transaction, owner: str, since: float) -> None:
    """End the wait of a key's jobs for the next day's budget, in the same way."""
    until = min([tx.now, *(hold.since for hold in tx.holds() if hold.scope in QUEUE_WIDE)])
    tx.postpone_deadlines(since=since, until=until, owner=owner)


def release_group(tx: Transaction, name: str, paused_at: float) -> None:
    """End a group's pause, in the same way."""
    until = min([tx.now, *(hold.since for hold in tx.holds() if hold.scope in QUEUE_WIDE)])
    tx.postpone_deadlines(since=paused_at, until=until, group=name)
