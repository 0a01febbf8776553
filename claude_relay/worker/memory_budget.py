"""A limit on bytes in memory, granted in the order of asking."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

_STOP_CHECK = 0.2


class ByteSemaphore:
    """A fixed number of bytes; a request that does not fit waits, and smaller ones do not overtake it."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self.changed = threading.Condition()
        self.waiting: deque[Reservation] = deque()

    def reserve(self) -> Reservation:
        """An empty reservation. Release it with `close`, or at the end of a `with` block."""
        return Reservation(self)


class Reservation:
    """The bytes of one job. One thread may ask while another closes: a request after `close` gets nothing."""

    def __init__(self, budget: ByteSemaphore) -> None:
        self._budget = budget
        self._size = 0
        self._closed = False

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def grow(self, wanted: int, stop: Callable[[], object]) -> bool:
        """
        Add `wanted` bytes, at most the whole budget; waits until they are free.

        False, with nothing added, once `stop` returns a true value or the reservation is closed.
        """
        budget = self._budget
        wanted = min(wanted, budget.size)
        with budget.changed:
            budget.waiting.append(self)
            try:
                while budget.waiting[0] is not self or budget.free < wanted:
                    if self._closed or stop():
                        return False
                    budget.changed.wait(_STOP_CHECK)
                if self._closed:
                    return False
                budget.free -= wanted
                self._size += wanted
                return True
            finally:
                budget.waiting.remove(self)
                budget.changed.notify_all()

    def close(self) -> None:
        """Release all bytes. May be called twice."""
        with self._budget.changed:
            self._closed = True
            self._budget.free += self._size
            self._size = 0
            self._budget.changed.notify_all()
