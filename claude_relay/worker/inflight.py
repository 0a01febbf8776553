"""The calls in flight in this worker, with their cancel and lease flags."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import field

from ..core.jobs.failure import PartialResponse
from ..core.lazy_dataclass import dataclass
from ..services import ClaimedJob
from .pacing import PacedCall
from .text_writer import TextWriter


@dataclass(eq=False)
class InFlightCall:
    """One call. The heartbeat sets the flags `cancelled` and `lost`; the call reads them at its next event."""

    claimed: ClaimedJob
    paced: PacedCall
    cancelled: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    late: Callable[[], bool] = lambda: False  # whether its deadline has passed
    sent: bool = False
    partial: PartialResponse = field(default_factory=PartialResponse)
    writer: TextWriter | None = None  # of its text, for streams
    followups: int = 0  # requests after the first one
    started_at: float = field(default_factory=time.monotonic)
    progress_at: float = field(default_factory=time.monotonic)

    def touch(self) -> None:
        """Record progress: an event arrived, or the result is being stored."""
        self.progress_at = time.monotonic()

    @property
    def job_id(self) -> str:
        """The id of its job."""
        return self.claimed.job.id

    @property
    def call_number(self) -> int:
        """The number of the ledger entry of its present request."""
        return self.claimed.call.number + self.followups


class InFlightCalls:
    """Every call of this worker. Shared by dispatcher, heartbeat and daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, InFlightCall] = {}
        self._idle = threading.Condition(self._lock)

    def add(self, claimed: ClaimedJob, paced: PacedCall) -> InFlightCall:
        """Register a call, from its claim on."""
        running = InFlightCall(claimed, paced)
        with self._lock:
            self._calls[running.job_id] = running

        return running

    def remove(self, running: InFlightCall) -> None:
        """Deregister a call, once nothing more will be written about it."""
        with self._lock:
            if self._calls.get(running.job_id) is running:
                del self._calls[running.job_id]
            if not self._calls:
                self._idle.notify_all()

    def all(self) -> Sequence[InFlightCall]:
        """A snapshot of the calls."""
        with self._lock:
            return list(self._calls.values())

    def stalled(self, now: float, *, longest: float, silence: float) -> InFlightCall | None:
        """A call that runs for more than `longest` seconds and has made no progress for more than `silence`."""
        calls = self.all()

        return next(
            (call for call in calls if now - call.started_at > longest and now - call.progress_at > silence), None
        )

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is in flight, at most `timeout` seconds; whether that came about."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._calls, timeout)
