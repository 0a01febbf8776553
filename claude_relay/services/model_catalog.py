"""The model catalog of any process: the list that a worker has stored, cached for some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..core.models import catalog
from ..errors import RelayError
from .transactions import query

if TYPE_CHECKING:
    from ..core.models.catalog import ModelCatalog
    from ..ports import ReadTransaction, Store

#: The store is read at most this often, in seconds: every submission needs the catalog.
MAX_AGE = 5.0
STATE_KEY = "models"


class CachedModelCatalog:
    """Returns the cached catalog while the store is unavailable, so that submissions can still be parsed."""

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
        self._read_at = float("-inf")
        self._catalog = catalog.BUILT_IN

    def __call__(self) -> ModelCatalog:
        """The current catalog."""
        with self._lock:
            now = self._clock()
            if now - self._read_at >= MAX_AGE:
                self._read_at = now
                self._catalog = self._load()
            return self._catalog

    def _load(self) -> ModelCatalog:
        try:
            memo = self._read_memo()
        except RelayError:
            return self._catalog
        if isinstance(memo, Mapping) and memo.get("provider", self._provider) != self._provider:
            return catalog.BUILT_IN  # stored for another provider, such as the sandbox: ignore it

        return catalog.from_memo(memo, prices=self._prices)

    @query
    def _read_memo(self, tx: ReadTransaction) -> Any:
        return tx.shared_value(STATE_KEY)
