"""A pool of connections that read: created on demand, reused, and limited in number."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import StoreUnavailable
from .connection import LOCK_TIMEOUT, Connection, is_idle

#: A server accepts a hundred connections by default, of all processes together.
_MAX_CONNECTIONS = 12


class ReadPool:
    """
    A connection pool without threads, unlike `psycopg_pool`.

    A server that is down is reported at once and with its own message, not after a timeout, and one that is up again is
    used at once.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for the block. Raises `psycopg.Error` if there is none, `StoreUnavailable` if all are in use."""
        if not self._slots.acquire(timeout=LOCK_TIMEOUT):
            raise StoreUnavailable("the store is busy: too many reads at once; try again", retry_after=5)
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    def drop(self) -> None:
        """Close the idle connections, which are lost if the server was."""
        while not self._idle.empty():
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def close(self) -> None:
        """Close all connections, also those that are given back later."""
        self._closed = True
        self.drop()

    def _take(self) -> Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._connect()

    def _give_back(self, connection: Connection) -> None:
        if is_idle(connection) and not self._closed:
            self._idle.put(connection)
        else:
            connection.close()
