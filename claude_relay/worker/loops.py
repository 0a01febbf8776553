"""A thread that does the same thing again and again until it is told to stop, and does not die of a fault."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..errors import StoreUnavailable

log = logging.getLogger(__name__)


class Loop:
    """
    Owns one thread. `step` does a round and answers after how many seconds the next one is due.

    A fault in a round is logged with its traceback, and the next round comes a little later: this is the one place
    where that is done.
    """

    def __init__(self, name: str, step: Callable[[], float], *, pause_after_fault: float = 1.0) -> None:
        self._step = step
        self._pause = pause_after_fault
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin with the first round."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next round now."""
        self._wake.set()

    def stop(self, timeout: float = 10.0) -> None:
        """Let the present round end, and no other begin."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                delay = self._step()
            except StoreUnavailable as exc:
                log.warning("store unavailable", extra={"loop": self._thread.name, "error": str(exc)})
                delay = self._pause
            except Exception:
                log.exception("a round failed; going on", extra={"loop": self._thread.name})
                delay = self._pause
            if delay > 0:
                self._wake.wait(delay)
