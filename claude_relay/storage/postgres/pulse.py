"""A sign of life in an open transaction: a process that computes is not a frozen one."""

from __future__ import annotations

import contextlib
import threading

import psycopg

from .connection import Connection


class Pulse:
    """A thread that sends an empty statement from time to time, until it is stopped or time is up."""

    def __init__(self, connection: Connection, *, every: float, seconds: float) -> None:
        self._connection = connection
        self._every, self._beats = every, int(seconds / every)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="store-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more; returns once the last one was answered."""
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        with contextlib.suppress(psycopg.Error):  # the transaction has ended: its own next statement says why
            for _ in range(self._beats):
                if self._stopped.wait(self._every):
                    return
                self._connection.execute("SELECT 1")
