"""What is known of the models, in any process: the list that a worker has stored, looked up now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from ..core.models import catalog
from ..core.models.catalog import ModelCatalog
from ..errors import RelayError
from ..ports import Store

#: The store is asked no more often than this, in seconds: every job at the door needs the answer.
MAX_AGE = 5.0
STATE_KEY = "models"


class CachedModelCatalog:
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
        self._catalogue = catalog.BUILT_IN

    def __call__(self) -> ModelCatalog:
        """What is known just now."""
        with self._lock:
            now = self._clock()
            if now - self._asked_at >= MAX_AGE:
                self._asked_at = now
                self._catalogue = self._look()
            return self._catalogue

    def _look(self) -> ModelCatalog:
        try:
            memo = self._store.read(lambda tx: tx.shared_value(STATE_KEY))
        except RelayError:
            return self._catalogue
        if isinstance(memo, Mapping) and memo.get("provider", self._provider) != self._provider:
            return catalog.BUILT_IN  # the list of another upstream: the sandbox's is scenery

        return catalog.from_memo(memo, prices=self._prices)
