"""The thread that fills the search index."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..services import Relay
from .periodic import PeriodicThread

#: Seconds between two looks for changed texts.
_EVERY = 1.0


class SearchIndexer:
    """Fills the index in steps. Others get as much of the writer's time as a step took."""

    def __init__(self, relay: Relay, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._relay, self._clock = relay, clock
        self.loop = PeriodicThread("search-index", self._round)

    def start(self) -> None:
        """Start to index."""
        self.loop.start()

    def stop(self) -> None:
        """Stop after the current step."""
        self.loop.stop()

    def _round(self) -> float:
        started = self._clock()
        more = self._relay.search_index.step()

        return min(self._clock() - started, _EVERY) if more else _EVERY
