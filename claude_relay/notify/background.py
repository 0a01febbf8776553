"""
Notification in a thread, so that no 202 waits for it.

Ids go to the ready queue, then workers are woken.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Protocol

from ..ports import ReadyQueue

#: The pause between two notifications, in seconds.
_GATHER = 0.05


class ImmediateNotifier(Protocol):
    """A notifier that wakes workers at once, after the ids were queued."""

    def notify(self) -> None: ...
    def close(self) -> None: ...


class BackgroundNotifier:
    """Implements `ports.Notifier`. Ids that a crash loses are recovered by the sweep."""

    def __init__(self, ready: ReadyQueue, sender: ImmediateNotifier) -> None:
        self._ready = ready
        self._sender = sender
        self._pending: queue.SimpleQueue[Sequence[str] | None] = queue.SimpleQueue()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="notifier", daemon=True)
        self._thread.start()

    def notify(self, job_ids: Sequence[str] = ()) -> None:
        """Queue the ids; returns at once."""
        self._pending.put(tuple(job_ids))

    def close(self) -> None:
        """Send pending notifications, and stop."""
        self._pause.set()
        self._pending.put(None)
        self._thread.join()
        self._ready.close()
        self._sender.close()

    def _send_all(self) -> None:
        while (ids := self._pending.get()) is not None:
            batch = list(ids)
            while not self._pending.empty():
                if (more := self._pending.get()) is None:
                    self._pending.put(None)
                    break
                batch.extend(more)
            # In this order, as a worker that is woken first finds an empty queue; it costs a fraction of a millisecond.
            self._ready.put(batch)
            self._sender.notify()
            # Under load one notification covers all jobs that come meanwhile; a single job does not wait for this.
            self._pause.wait(_GATHER)
