"""Log lines of an outage of the store: one for its beginning and one for its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: A failure after this many seconds without one begins another outage.
_SILENCE = 60.0


class OutageLog:
    """The outages of one process. Every thread reports its failures; lines after the first are only for debugging."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began_at: float | None = None
        self._last_at = 0.0
        self._failures = 0

    def failed(self, error: object, **fields: object) -> None:
        """Log the first failure of an outage."""
        with self._lock:
            now = self._clock()
            first = self._began_at is None or now - self._last_at > _SILENCE
            if first:
                self._began_at, self._failures = now, 0
            self._last_at = now
            self._failures += 1
        level = logging.WARNING if first else logging.DEBUG
        log.log(level, "store unavailable", extra={"error": str(error), **fields})

    def ended(self) -> None:
        """Log the end of an outage, if there was one."""
        with self._lock:
            began, self._began_at = self._began_at, None
            failures = self._failures
        if began is not None:
            seconds = round(self._clock() - began, 1)
            log.warning("store available again", extra={"seconds": seconds, "failures": failures})


#: Outages are a fact of the process, as its log is.
STORE = OutageLog()
