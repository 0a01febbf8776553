"""A thread that repeats one step until it is stopped, and survives faults."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .. import failpoints
from ..errors import StoreUnavailable
from .outage import STORE

log = logging.getLogger(__name__)

#: A thread whose round lasts longer than this hangs, in seconds: each wait in one (a lock, a disk, a reply) is shorter.
STALL_TIMEOUT = 60.0


class PeriodicThread:
    """
    Owns one thread. `step` does one round and returns the seconds until the next.

    A fault in a round is logged with its traceback, and the next round starts `pause_after_fault` later: this is the
    one place where faults are survived.
    """

    def __init__(self, name: str, step: Callable[[], float], *, pause_after_fault: float = 1.0) -> None:
        self._step = step
        self._fault_pause = pause_after_fault
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._beat_at: float | None = None
        self._pause = 0.0  # seconds until the next round, from the last beat on
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def name(self) -> str:
        """The thread's name, which says its duty."""
        return self._thread.name

    def start(self) -> None:
        """Start the thread with its first round."""
        self._thread.start()

    def beat(self) -> None:
        """Record progress within a long round."""
        self._beat_at = time.monotonic()

    def alive(self, now: float, patience: float = STALL_TIMEOUT) -> bool:
        """
        Whether the thread makes progress, by the monotonic time `now`.

        A thread that was not started, was stopped, or pauses until its next round counts as alive.
        """
        if self._beat_at is None or self._stop.is_set():
            return True

        return self._thread.is_alive() and now - self._beat_at < patience + self._pause

    def wake(self) -> None:
        """Start the next round now."""
        self._wake.set()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the current round and start no other."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self.beat()
            self._pause = 0.0
            try:
                failpoints.hit(f"loop.{self.name}")
                delay = self._step()
            except StoreUnavailable as exc:
                STORE.failed(exc, loop=self.name)
                delay = self._fault_pause
            except Exception:
                log.exception("a round failed; going on", extra={"loop": self.name})
                delay = self._fault_pause
            self._pause = max(0.0, delay)
            self.beat()
            if delay > 0:
                self._wake.wait(delay)
