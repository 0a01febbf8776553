"""
Circuit breaker for the connection to Anthropic.

While it is open, one job at a time probes, and the others wait.

An attempt that could not connect costs nothing but counts (`CONTRACT.md` §5): without the breaker, an outage of half a
minute would fail every waiting job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.jobs.holds import UNREACHABLE, QueueHold
from .holds import load_holds

if TYPE_CHECKING:
    from ..core.jobs.failure import Failure
    from ..ports import Transaction

#: Bounds, in seconds, of the pause before the next probe; it grows with the time that the outage has lasted.
MIN_PAUSE, MAX_PAUSE = 2.0, 60.0


def record_failure(tx: Transaction, failure: Failure, *, chance: float) -> None:
    """Open the breaker, or keep it open: a call could not be connected."""
    current = load_holds(tx).get(UNREACHABLE)
    began = current.since if current is not None and (current.until or 0.0) > tx.now - MAX_PAUSE else tx.now
    pause = min(MAX_PAUSE, max(MIN_PAUSE, 2 * (tx.now - began)))
    until = tx.now + pause / 2 + pause / 2 * chance
    detail = failure.message
    tx.save_hold(QueueHold(scope=UNREACHABLE, reason=str(UNREACHABLE), since=began, until=until, detail=detail))


def record_success(tx: Transaction) -> None:
    """Close the breaker: a connection was made."""
    if load_holds(tx).get(UNREACHABLE) is not None:
        tx.delete_hold(UNREACHABLE)
