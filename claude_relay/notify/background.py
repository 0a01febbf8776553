"""Announces ready jobs after their commit: ids onto the queue, then a ring, in a thread, so that no 202 waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Protocol

from ..ports import ReadyQueue

#: Between two announcements, in seconds.
_GATHER = 0.05


class ImmediateNotifier(Protocol):
    """What is rung once the ids are handed on."""

    def notify(self) -> None: ...
    def close(self) -> None: ...


class BackgroundNotifier:
    """Implements `ports.Bell`. What is still to be said at a crash is lost, and found by the sweep."""

    def __init__(self, ready: ReadyQueue, sender: ImmediateNotifier) -> None:
        self._ready = ready
        self._doorbell = sender
        self._said: queue.SimpleQueue[Sequence[str] | None] = queue.SimpleQueue()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._announce, name="announcer", daemon=True)
        self._thread.start()

    def notify(self, job_ids: Sequence[str] = ()) -> None:
        """Returns at once."""
        self._said.put(tuple(job_ids))

    def close(self) -> None:
        """Say what is left, and stop."""
        self._pause.set()
        self._said.put(None)
        self._thread.join()
        self._ready.close()
        self._doorbell.close()

    def _announce(self) -> None:
        while (ids := self._said.get()) is not None:
            together = list(ids)
            while not self._said.empty():
                if (more := self._said.get()) is None:
                    self._said.put(None)
                    break
                together.extend(more)
            # The ring first would find an empty queue; the other order costs a fraction of a millisecond.
            self._ready.put(together)
            self._doorbell.notify()
            # Under load one announcement speaks for all that come meanwhile; alone, nobody waits for this.
            self._pause.wait(_GATHER)
