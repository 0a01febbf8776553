"""
The threads that answer requests, and the pipe by which they wake the main loop.

In place of waitress's `ThreadedTaskDispatcher`: its condition variable makes a lock for each wait, under the
interpreter lock (*measured*: 11 % of an accepted submit); `queue.SimpleQueue` waits in C.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from waitress.trigger import trigger

log = logging.getLogger("waitress.queue")

#: Tasks that are handed over together.
_GATHERED = 16


class Task(Protocol):
    """Work for one of the threads."""

    def service(self) -> None:
        """Do it."""
        ...

    def cancel(self) -> None:
        """Drop it."""
        ...


class DeferredConnection(Protocol):
    """A connection with a deferred response."""

    def send_deferred(self) -> None:
        """Send it."""
        ...


class Wakeup(trigger):  # type: ignore[misc]
    """The pipe that wakes the main loop: one byte for all threads that finish before it looks."""

    pulled = False

    released: deque[DeferredConnection]

    def __init__(self, map: dict[int, Any]) -> None:
        super().__init__(map)
        self.adopt(self)

    @classmethod
    def adopt(cls, pipe: trigger) -> None:
        """Make the pipe that waitress has made one of this class."""
        pipe.__class__, pipe.released = cls, deque()

    def _physical_pull(self) -> None:
        # The caller has changed its channel before this; the loop looks at the channels after `handle_read`.
        if self.thunks or not self.pulled:
            self.pulled = True
            super()._physical_pull()

    def release(self, connection: DeferredConnection) -> None:
        """Have the main loop send the deferred response of that connection."""
        self.released.append(connection)
        with contextlib.suppress(OSError):  # at a stop the loop has ended
            self._physical_pull()

    def handle_read(self) -> None:
        """Empty the pipe, and send the responses that were released."""
        super().handle_read()
        self.pulled = False  # a pull that was left out until here has changed its channel, or released it, before
        while self.released:
            try:
                self.released.popleft().send_deferred()
            except Exception:
                log.exception("a deferred response could not be sent")


class TaskQueue:
    """A fixed number of threads and the tasks that wait for them; the methods are those that waitress calls."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._gathered: list[Task] | None = None
        self._gatherer = 0

    def set_thread_count(self, count: int) -> None:
        """Start threads up to that number."""
        while len(self._threads) < count:
            thread = threading.Thread(target=self._run, name=f"waitress-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """
        Hand over the tasks of this thread at the end of the block, or sixteen at a time.

        A thread that has a task wants the interpreter lock, which each read of a socket gives up: the main loop would
        have to win it back for every connection.
        """
        self._gathered, self._gatherer = [], threading.get_ident()
        try:
            yield
        finally:
            tasks, self._gathered = self._gathered, None
            self._put(tasks)

    def add_task(self, task: Task) -> None:
        """Hand over a task."""
        gathered = self._gathered
        if gathered is None or threading.get_ident() != self._gatherer:
            self._put((task,))
            return
        gathered.append(task)
        if len(gathered) >= _GATHERED:
            self._put(gathered)
            gathered.clear()

    def _put(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._tasks.put(task)
        if (waiting := self._tasks.qsize()) > len(self._threads):
            log.warning("Task queue depth is %d", waiting)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """Stop the threads after the tasks that wait, or instead of them; returns whether it dropped some."""
        cancelled = False
        while cancel_pending and not self._tasks.empty():
            task = self._tasks.get()
            if task is not None:
                task.cancel()
                cancelled = True
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if running := sum(thread.is_alive() for thread in self._threads):
            log.warning("%d thread(s) still running", running)

        return cancelled

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.service()
            except BaseException:
                log.exception("Exception when servicing %r", task)
