"""What stands still gives its time back: pauses and the park, which may overlap, and default deadlines."""

from __future__ import annotations

from ..ports import Hold, Unit

#: The holds that stop the whole queue.
WHOLE = ("pause", "park")


def lift(unit: Unit, *scopes: str) -> list[Hold]:
    """
    End those holds of the whole queue; answers which there were.

    Each moment is given back once: what another hold still covers is left for its own end.
    """
    ended = [hold for scope in scopes if (hold := unit.drop_hold(scope)) is not None]
    if not ended:
        return []
    since = min(hold.since for hold in ended)
    until = min([unit.now, *(hold.since for hold in unit.holds() if hold.scope in WHOLE)])
    paused = {group.name: group.paused_at for group in unit.groups() if group.paused_at is not None}
    unit.postpone_deadlines(since=since, until=until, besides=list(paused))
    for name, paused_at in paused.items():
        unit.postpone_deadlines(since=since, until=min(until, paused_at), group=name)

    return ended


def lift_owner(unit: Unit, owner: str, since: float) -> None:
    """End the wait of a key's jobs for the next day's budget, in the same way."""
    until = min([unit.now, *(hold.since for hold in unit.holds() if hold.scope in WHOLE)])
    unit.postpone_deadlines(since=since, until=until, owner=owner)


def lift_group(unit: Unit, name: str, paused_at: float) -> None:
    """End a group's pause, in the same way."""
    until = min([unit.now, *(hold.since for hold in unit.holds() if hold.scope in WHOLE)])
    unit.postpone_deadlines(since=paused_at, until=until, group=name)
