"""Room in memory, given out in the order of asking."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

_LOOK = 0.2


class ByteSemaphore:
    """So many bytes and no more: who asks for what is not free waits, and is not overtaken by smaller ones."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self.news = threading.Condition()
        self.waiting: deque[Reservation] = deque()

    def reserve(self) -> Reservation:
        """A part of it, empty as yet. Give it back by `close`, or at the end of a `with` block."""
        return Reservation(self)


class Reservation:
    """What one job holds. One thread may ask while another gives it back: who asks too late gets nothing."""

    def __init__(self, room: ByteSemaphore) -> None:
        self._room = room
        self._held = 0
        self._closed = False

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def grow(self, wanted: int, stop: Callable[[], object]) -> bool:
        """Hold so much, once, or all there is; False, and nothing held, where `stop` said something true meanwhile."""
        room = self._room
        wanted = min(wanted, room.size)
        with room.news:
            room.waiting.append(self)
            try:
                while room.waiting[0] is not self or room.free < wanted:
                    if self._closed or stop():
                        return False
                    room.news.wait(_LOOK)
                if self._closed:
                    return False
                room.free -= wanted
                self._held += wanted
                return True
            finally:
                room.waiting.remove(self)
                room.news.notify_all()

    def close(self) -> None:
        """Give it back. May be called twice."""
        with self._room.news:
            self._closed = True
            self._room.free += self._held
            self._held = 0
            self._room.news.notify_all()
