"""
The main loop over the sockets of the API: a round costs as much as the connections that are ready.

waitress's own asks every connection in every round whether it may be read or written, and accepts one in each: a
thousand that arrive together take a thousand rounds over all of them (*measured*, CPU of the API beside 400 slow
connections that send three times a second, and /health 40 times: 12 % of a core with it, 7 with this one).
"""

from __future__ import annotations

import math
import select
import time
from typing import Any

from waitress import wasyncore

#: All connections are asked after so many seconds: for their deadlines, and in case a change was missed.
_SWEEP = 0.25
#: Connections that are accepted in a round, so that those that are open are served meanwhile.
_ACCEPTED = 64


class EventLoop:
    """
    Readiness of the sockets in `map`.

    A connection is *settled* while it waits for bytes of its client and nothing else: its registration stays as it is,
    and it is not asked again before something arrives, or `touch`. Used by the main loop's thread only.
    """

    def __init__(self, map: dict[int, Any]) -> None:
        self._map = map
        self._poll = select.poll()
        self._registered: dict[int, int] = {}
        self._unsettled: dict[int, None] = {}  # oldest first: so their bytes are read, which the bounds rely on
        self._swept_at = -math.inf
        #: Connections that were asked, for tests.
        self.asked = 0

    def touch(self, fd: int) -> None:
        """Ask that connection in the next round: it is new, or something changed."""
        self._unsettled[fd] = None

    def forget(self, fd: int) -> None:
        """A connection was closed: its number may be used again."""
        self._unsettled.pop(fd, None)
        if self._registered.pop(fd, 0):
            self._poll.unregister(fd)

    def round(self, timeout: float) -> None:
        """Wait up to so many seconds for something to happen, and handle it."""
        now = time.monotonic()
        if now - self._swept_at >= _SWEEP:
            self._swept_at = now
            self._unsettled.update(dict.fromkeys(self._map))
        for fd in tuple(self._unsettled):
            self._ask(fd)

        listeners = []
        for fd, flags in self._poll.poll(int(timeout * 1000)):
            connection = self._map.get(fd)
            if connection is None:
                self.forget(fd)
            elif connection.accepting:
                listeners.append(connection)
            else:
                self._unsettled[fd] = None
                wasyncore.readwrite(connection, flags)
        # Last: a new connection may get the number of one that was closed in this round, and would get its event.
        for listener in listeners:
            self._accept(listener)

    def _ask(self, fd: int) -> None:
        connection = self._map.get(fd)
        if connection is None:
            self.forget(fd)
            return
        self.asked += 1
        flags = select.POLLIN | select.POLLPRI if connection.readable() else 0
        if connection.writable() and not connection.accepting:
            flags |= select.POLLOUT
        if flags != self._registered.get(fd, 0):
            if flags:
                self._poll.register(fd, flags)
            else:
                self._poll.unregister(fd)
            self._registered[fd] = flags
        if getattr(connection, "settled", False):
            self._unsettled.pop(fd, None)

    def _accept(self, listener: Any) -> None:
        for _ in range(_ACCEPTED):
            before = len(self._map)
            wasyncore.readwrite(listener, select.POLLIN)
            if len(self._map) == before or not listener.readable():
                return
