"""What is known of the models, in any process: the list that a worker has stored, looked up now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from ..core import catalogue
from ..core.catalogue import Catalogue
from ..errors import RelayError
from ..ports import Store

#: The store is asked no more often than this, in seconds: every job at the door needs the answer.
FRESH = 5.0
MEMO = "models"


class Known:
    """Answers with what it knows while the store is out of reach: a door must not close for that."""

    def __init__(
        self,
        store: Store,
        *,
        provider: str = "anthropic",
        prices: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._provider, self._prices, self._clock = store, provider, prices, clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._catalogue = catalogue.BUILT_IN

    def __call__(self) -> Catalogue:
        """What is known just now."""
        with self._lock:
            now = self._clock()
            if now - self._asked_at >= FRESH:
                self._asked_at = now
                self._catalogue = self._look()
            return self._catalogue

    def _look(self) -> Catalogue:
        try:
            memo = self._store.read(lambda view: view.memo(MEMO))
        except RelayError:
            return self._catalogue
        if isinstance(memo, Mapping) and memo.get("provider", self._provider) != self._provider:
            return catalogue.BUILT_IN  # the list of another upstream: the sandbox's is scenery

        return catalogue.from_memo(memo, prices=self._prices)
