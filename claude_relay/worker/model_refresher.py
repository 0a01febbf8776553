"""Refresh of the stored model list, for every process that reads it; no job waits for it."""

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

#: In seconds: the largest age of the list; the first pause after a failure, which doubles up to that age.
REFRESH, FIRST_PAUSE = 6 * 3600.0, 60.0


class ModelRefresher:
    """One thread that fetches the list periodically. The previous list stays until a usable one arrives."""

    def __init__(
        self, relay: Relay, source: ModelLister, *, provider: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._relay, self._source, self._provider, self._clock = relay, source, provider, clock
        self._pause = FIRST_PAUSE
        self._loop = PeriodicThread("models", self.refresh, pause_after_fault=FIRST_PAUSE)

    def start(self) -> None:
        """Start with a refresh."""
        self._loop.start()

    def stop(self) -> None:
        """Stop; a request that is under way is not waited for."""
        self._loop.stop(timeout=0.1)

    def refresh(self) -> float:
        """Fetch and store the list; returns the seconds until the next refresh."""
        models = self._source.models()
        error = models.message if isinstance(models, Failure) else "it names no model"
        if isinstance(models, Failure) or not read_models(list(models)):
            pause, self._pause = self._pause, min(self._pause * 2, REFRESH)
            log.warning("the model list could not be fetched", extra={"error": error, "againInSeconds": pause})
            return pause

        self._pause = FIRST_PAUSE
        value = {"fetchedAt": self._clock(), "provider": self._provider, "models": list(models)}
        self._relay.maintenance.set_shared("models", value)
        log.info("models listed", extra={"models": len(models)})

        return REFRESH
