"""Connections to read with: made when they are needed, kept for the next, and never more than so many."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import StoreUnavailable
from .connection import CONNECT_TIMEOUT, Connection, is_idle

#: A server takes a hundred connections by default, of all processes together.
_MOST = 12


class ReadPool:
    """
    What `psycopg_pool` would be, without its threads: a server that is away is told of at once and in its own words,
    not after a time-out, and one that is back is used at once.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._places = threading.BoundedSemaphore(_MOST)
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[Connection]:
        """One for the block. Raises `psycopg.Error` where none is to be had, `StoreUnavailable` if all are busy."""
        if not self._places.acquire(timeout=CONNECT_TIMEOUT):
            raise StoreUnavailable("the store is busy: too much is looked up at once; try again", retry_after=5)
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    def drop(self) -> None:
        """Close all that nobody uses: the server has gone away, and they with it."""
        while not self._idle.empty():
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def close(self) -> None:
        """Also those that come back later."""
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
