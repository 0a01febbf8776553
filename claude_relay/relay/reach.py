"""
Whether Anthropic can be reached at all. While it cannot, one job at a time finds out, and the others are spared.

A try that reached nobody costs nothing but counts (`CONTRACT.md` §5): without this, a line that is down for half a
minute would fail every job that waits.
"""

from __future__ import annotations

from ..ports import Hold, Unit

SCOPE = "unreachable"
#: The pause before the next look grows with the time that it has lasted, within these bounds, in seconds.
LEAST, MOST = 2.0, 60.0
#: How long a look may take: a connection is made or given up by then.
LOOK = 15.0


def lost(unit: Unit, *, chance: float) -> None:
    """A call could not be connected."""
    known = _hold(unit)
    began = known.since if known is not None and (known.until or 0.0) > unit.now - MOST else unit.now
    pause = min(MOST, max(LEAST, 2 * (unit.now - began)))
    unit.save_hold(Hold(scope=SCOPE, reason=SCOPE, since=began, until=unit.now + pause / 2 + pause / 2 * chance))


def looking(unit: Unit, hold: Hold) -> None:
    """One job is on its way to find out."""
    unit.save_hold(Hold(scope=SCOPE, reason=SCOPE, since=hold.since, until=unit.now + LOOK))


def found(unit: Unit) -> None:
    """A connection stands."""
    if _hold(unit) is not None:
        unit.drop_hold(SCOPE)


def _hold(unit: Unit) -> Hold | None:
    return next((hold for hold in unit.holds() if hold.scope == SCOPE), None)
