"""Daemon threads that are used again: starting one costs as much CPU as half of a short request."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Task = Callable[[], None]

#: An idle thread ends after this many seconds.
_IDLE = 10.0


class ReusedThreads:
    """
    Runs each task at once, in an idle thread or a new one.

    Unlike those of `ThreadPoolExecutor`, a thread that hangs does not hold up the end of the process.
    """

    def __init__(self, name: str, *, idle: float = _IDLE) -> None:
        self._name, self._seconds = name, idle
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[Task]] = []

    def run(self, task: Task) -> None:
        """Run a task that raises nothing. Raises `RuntimeError` where no thread can be started."""
        with self._lock:
            tasks = self._idle.pop() if self._idle else None
        if tasks is None:
            tasks = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(tasks,), name=self._name, daemon=True).start()
        tasks.put(task)

    def _serve(self, tasks: queue.SimpleQueue[Task]) -> None:
        while True:
            try:
                task = tasks.get(timeout=self._seconds)
            except queue.Empty:
                with self._lock:
                    if tasks in self._idle:
                        self._idle.remove(tasks)
                        return
                task = tasks.get()  # it was taken at the last moment
            task()
            del task  # and all that it holds, such as a large file
            with self._lock:
                self._idle.append(tasks)
