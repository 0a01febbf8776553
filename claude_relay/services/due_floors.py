"""
The times before which a destination has no deliveries left to send, as seen by this process.

The server keeps index entries of deliveries that were sent while another client has a snapshot open, and a look from
the first entry on passes over all of them. So a look begins where the last one met a delivery. A delivery is due at the
time of its transaction at the earliest, and one process writes at a time: none is added before that, but for the moment
for which a transaction has waited for the lock. The calendar clock may be stepped back, though, so that every ten
seconds a look begins at the first entry again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.deliveries.destination import DueDestination

_LIFETIME = 10.0
#: Seconds by which a transaction may be older than one that was committed before it.
_MARGIN = 5.0
#: Destinations that are remembered: each is a part of the statement.
_MOST = 16


class DueFloors:
    """Set by transactions that write, which see all that was committed before them; others only read."""

    def __init__(self) -> None:
        self._floors: dict[str, float] = {}
        self._began_at = -math.inf

    @property
    def floors(self) -> Mapping[str, float]:
        """By destination, whatever the time: what a look-up that is announced will probably need."""
        return self._floors

    def at(self, now: float) -> Mapping[str, float]:
        """By destination; empty where the next look begins at the first entry."""
        return self._floors if 0 <= now - self._began_at < _LIFETIME else {}

    def update(self, dues: Sequence[DueDestination], *, known: Mapping[str, float], now: float) -> None:
        """Remember a look that began at `known`. A destination without a waiting delivery keeps its floor."""
        if not known:
            self._began_at = now
        floors = self._floors | {due.destination: min(due.oldest, now - _MARGIN) for due in dues}
        latest = sorted(floors, key=lambda name: -floors[name])[:_MOST]
        self._floors = {name: floors[name] for name in sorted(latest)}
