"""The heart: leases renewed, cancels heard, a sign of life. One thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..ports import WorkerHeartbeat
from ..services import Relay
from .inflight import InFlightCalls
from .periodic import PeriodicThread

#: How often a running call's cancel is looked for, and a sign of life given, in seconds.
CANCEL_POLL, REPORT_EVERY = 0.5, 10.0


class Heartbeat:
    """Beats for one worker."""

    def __init__(
        self,
        relay: Relay,
        in_hand: InFlightCalls,
        *,
        seen: Callable[[], WorkerHeartbeat],
        worker: str,
        lease: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay, self._in_hand, self._seen, self._worker = relay, in_hand, seen, worker
        self._every = lease / 4
        self._clock = clock
        self._renewed_at = self._shown_at = float("-inf")
        self.loop = PeriodicThread("heart", self._beat, pause_after_fault=CANCEL_POLL)

    def start(self) -> None:
        """Show life at once."""
        self._show(self._clock())
        self.loop.start()

    def stop(self) -> None:
        """No beat after this."""
        self.loop.stop()

    def _beat(self) -> float:
        now = self._clock()
        if now - self._renewed_at >= self._every:
            self._renew()
            self._renewed_at = now
        self._listen()
        if now - self._shown_at >= REPORT_EVERY:
            self._show(now)

        return min(CANCEL_POLL, self._every)

    def _renew(self) -> None:
        """Whoever is not on the list that comes back has lost its job; only those known before are judged by it."""
        known = self._in_hand.all()
        held = self._relay.execution.renew(self._worker, [running.job_id for running in known]) if known else {}
        for running in known:
            if held.get(running.job_id) != running.claimed.token:
                running.lost.set()

    def _listen(self) -> None:
        if not (known := self._in_hand.all()):
            return
        wanted = set(self._relay.execution.cancel_requests(self._worker))
        for running in known:
            if running.job_id in wanted:
                running.cancelled.set()

    def _show(self, now: float) -> None:
        self._relay.maintenance.heartbeat(self._seen())
        self._shown_at = now
