"""The calls that a worker has in hand, and what others have to say to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..core.jobs.failure import PartialResponse
from ..services import ClaimedJob


@dataclass(eq=False)
class InFlightCall:
    """One call in a slot. Flags are set by the heart and read by the call at its next event."""

    claimed: ClaimedJob
    cancelled: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    late: Callable[[], bool] = lambda: False  # whether its deadline has passed
    sent: bool = False
    partial: PartialResponse = field(default_factory=PartialResponse)
    started_at: float = field(default_factory=time.monotonic)
    progress_at: float = field(default_factory=time.monotonic)

    def touch(self) -> None:
        """A sign of life: an event came, or its result is being stored."""
        self.progress_at = time.monotonic()

    @property
    def job_id(self) -> str:
        """The job's own id."""
        return self.claimed.job.id


class InFlightCalls:
    """Every call of this worker. Shared by slots, heart and daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, InFlightCall] = {}
        self._idle = threading.Condition(self._lock)

    def add(self, claimed: ClaimedJob) -> InFlightCall:
        """From its claim on."""
        running = InFlightCall(claimed)
        with self._lock:
            self._calls[running.job_id] = running

        return running

    def remove(self, running: InFlightCall) -> None:
        """Once nothing more will be written of it."""
        with self._lock:
            if self._calls.get(running.job_id) is running:
                del self._calls[running.job_id]
            if not self._calls:
                self._idle.notify_all()

    def all(self) -> Sequence[InFlightCall]:
        """As of now."""
        with self._lock:
            return list(self._calls.values())

    def stalled(self, now: float, *, longest: float, silence: float) -> InFlightCall | None:
        """A call that is past its own deadlines and shows no life either, by the monotonic time `now`."""
        return next(
            (one for one in self.all() if now - one.started_at > longest and now - one.progress_at > silence), None
        )

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    def wait_idle(self, timeout: float) -> bool:
        """Whether nothing is in hand any more, at the latest after that many seconds."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._calls, timeout)
