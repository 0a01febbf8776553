"""Keeps the list of models fresh in the store, for every process that asks; no job waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..core.jobs.failure import Failure
from ..core.models.listing import read_models
from ..ports import ModelLister
from ..services import Relay
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: In seconds: how old the list may get; the first pause after a failure, which doubles up to that.
REFRESH, FIRST_PAUSE = 6 * 3600.0, 60.0


class ModelRefresher:
    """One thread, one question now and then. What was known before stands until there is a better list."""

    def __init__(
        self, relay: Relay, source: ModelLister, *, provider: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._relay, self._source, self._provider, self._clock = relay, source, provider, clock
        self._pause = FIRST_PAUSE
        self._loop = PeriodicThread("models", self.refresh, pause_after_fault=FIRST_PAUSE)

    def start(self) -> None:
        """Look at once."""
        self._loop.start()

    def stop(self) -> None:
        """Ask no more; a question that is out is not waited for."""
        self._loop.stop(timeout=0.1)

    def refresh(self) -> float:
        """Fetch and store the list; answers in how many seconds to look again."""
        found = self._source.models()
        why = found.message if isinstance(found, Failure) else "it names no model"
        if isinstance(found, Failure) or not read_models(list(found)):
            pause, self._pause = self._pause, min(self._pause * 2, REFRESH)
            log.warning("the list of models could not be fetched", extra={"error": why, "againInSeconds": pause})
            return pause

        self._pause = FIRST_PAUSE
        memo = {"fetchedAt": self._clock(), "provider": self._provider, "models": list(found)}
        self._relay.maintenance.set_shared("models", memo)
        log.info("models listed", extra={"models": len(found)})

        return REFRESH
