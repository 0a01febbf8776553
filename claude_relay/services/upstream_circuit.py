"""
Whether Anthropic can be reached at all. While it cannot, one job at a time finds out, and the others are spared.

A try that reached nobody costs nothing but counts (`CONTRACT.md` §5): without this, a line that is down for half a
minute would fail every job that waits.
"""

from __future__ import annotations

from ..ports import QueueHold, Transaction

SCOPE = "unreachable"
#: The pause before the next look grows with the time that it has lasted, within these bounds, in seconds.
MIN_PAUSE, MAX_PAUSE = 2.0, 60.0
#: How long a look may take: a connection is made or given up by then.
PROBE_INTERVAL = 15.0


def record_failure(tx: Transaction, *, chance: float) -> None:
    """A call could not be connected."""
    known = _hold(tx)
    began = known.since if known is not None and (known.until or 0.0) > tx.now - MAX_PAUSE else tx.now
    pause = min(MAX_PAUSE, max(MIN_PAUSE, 2 * (tx.now - began)))
    tx.save_hold(QueueHold(scope=SCOPE, reason=SCOPE, since=began, until=tx.now + pause / 2 + pause / 2 * chance))


def start_probe(tx: Transaction, hold: QueueHold) -> None:
    """One job is on its way to find out."""
    tx.save_hold(QueueHold(scope=SCOPE, reason=SCOPE, since=hold.since, until=tx.now + PROBE_INTERVAL))


def record_success(tx: Transaction) -> None:
    """A connection stands."""
    if _hold(tx) is not None:
        tx.delete_hold(SCOPE)


def _hold(tx: Transaction) -> QueueHold | None:
    return next((hold for hold in tx.holds() if hold.scope == SCOPE), None)
