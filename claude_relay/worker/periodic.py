"""A thread that does the same thing again and again until it is told to stop, and does not die of a fault."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .. import failpoints
from ..errors import StoreUnavailable

log = logging.getLogger(__name__)

#: A loop whose round lasts longer than this is not alive, in seconds: each wait in one (a lock, a disk, an answer) is
#: shorter.
JOIN_TIMEOUT = 60.0


class PeriodicThread:
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
        self._beat_at: float | None = None
        self._rest = 0.0  # seconds that it rests after that, on purpose
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def name(self) -> str:
        """Its duty."""
        return self._thread.name

    def start(self) -> None:
        """Begin with the first round."""
        self._thread.start()

    def beat(self) -> None:
        """A sign of life from within a long round."""
        self._beat_at = time.monotonic()

    def alive(self, now: float, patience: float = JOIN_TIMEOUT) -> bool:
        """
        Whether it goes round, by the monotonic time `now`.

        One not started, or stopped, is not missed; nor is one that rests until its next round is due.
        """
        if self._beat_at is None or self._stop.is_set():
            return True

        return self._thread.is_alive() and now - self._beat_at < patience + self._rest

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
            self.beat()
            self._rest = 0.0
            try:
                failpoints.hit(f"loop.{self.name}")
                delay = self._step()
            except StoreUnavailable as exc:
                log.warning("store unavailable", extra={"loop": self.name, "error": str(exc)})
                delay = self._pause
            except Exception:
                log.exception("a round failed; going on", extra={"loop": self.name})
                delay = self._pause
            self._rest = max(0.0, delay)
            self.beat()
            if delay > 0:
                self._wake.wait(delay)
