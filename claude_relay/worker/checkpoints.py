"""The answers of running calls so far, stored in the background: those of all calls together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..core.jobs.failure import PartialResponse
from ..errors import StoreUnavailable
from ..services import Relay
from .inflight import InFlightCall
from .outage import STORE
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: Seconds for which a checkpoint waits for others. A call that ends meanwhile needs none, as its outcome has more.
GATHER = 0.05
_IDLE = 60.0
#: Characters of a partial answer that is kept in memory beside the stored one.
_SHORT = 2**20


class CheckpointWriter:
    """Stores the latest partial answer of each call: a call goes on reading while its checkpoint is written."""

    def __init__(self, relay: Relay, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._relay, self._monotonic = relay, monotonic
        self._lock = threading.Lock()
        self._waiting: dict[InFlightCall, tuple[int, PartialResponse]] = {}  # with the number of its ledger entry
        self._write_at = 0.0
        self.loop = PeriodicThread("checkpoints", self._round)

    def start(self) -> None:
        """Start to write."""
        self.loop.start()

    def stop(self) -> None:
        """Stop; what is not written yet is left out."""
        self.loop.stop()

    def put(self, running: InFlightCall, partial: PartialResponse) -> None:
        """Store it soon, unless the call ends or gets further before."""
        with self._lock:
            first = not self._waiting
            if first:
                self._write_at = self._monotonic() + GATHER
            self._waiting[running] = running.call_number, partial
        if first:
            self.loop.wake()

    def drop(self, running: InFlightCall) -> None:
        """Leave out the checkpoint of a call that ends, or begins another request."""
        with self._lock:
            self._waiting.pop(running, None)

    def _round(self) -> float:
        with self._lock:
            if not self._waiting:
                return _IDLE
            if (wait := self._write_at - self._monotonic()) > 0:
                return wait
            items, self._waiting = self._waiting, {}
        try:
            self._relay.execution.checkpoint_many(
                [(running.claimed, number, partial) for running, (number, partial) in items.items()]
            )
        except StoreUnavailable as exc:
            # The next one is a second away, and the text is in memory.
            STORE.failed(exc, loop=self.loop.name)
        else:
            for running, (_, partial) in items.items():
                shorten(running, partial)

        return 0.0


def shorten(running: InFlightCall, stored: PartialResponse) -> None:
    """Keep no second copy of a long text: what ends the run without a text takes the stored one."""
    if len(stored.text) > _SHORT and running.partial is stored:
        running.partial = replace(stored, text="")
