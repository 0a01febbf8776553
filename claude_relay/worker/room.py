"""Room in memory, given out in the order of asking."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

_LOOK = 0.2


class Room:
    """So many bytes and no more: who asks for what is not free waits, and is not overtaken by smaller ones."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._news = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextlib.contextmanager
    def taken(self, wanted: int, stop: Callable[[], object]) -> Iterator[bool]:
        """Hold it for the block; False, and nothing held, where `stop` said something true meanwhile."""
        wanted = min(wanted, self._size)
        got = self._take(wanted, stop)
        try:
            yield got
        finally:
            if got:
                with self._news:
                    self._free += wanted
                    self._news.notify_all()

    def _take(self, wanted: int, stop: Callable[[], object]) -> bool:
        me = object()
        with self._news:
            self._waiting.append(me)
            try:
                while self._waiting[0] is not me or self._free < wanted:
                    if stop():
                        return False
                    self._news.wait(_LOOK)
                self._free -= wanted
                return True
            finally:
                self._waiting.remove(me)
                self._news.notify_all()
