"""Lease renewal, cancel requests, and the worker's own heartbeat. One thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..ports import WorkerHeartbeat
from ..services import Relay
from .inflight import InFlightCalls
from .periodic import PeriodicThread

#: Seconds between checks for cancel requests, and between two heartbeats.
CANCEL_POLL, REPORT_EVERY = 0.5, 10.0


class Heartbeat:
    """The heartbeat of one worker; `report` makes the row to store."""

    def __init__(
        self,
        relay: Relay,
        in_flight: InFlightCalls,
        *,
        report: Callable[[], WorkerHeartbeat],
        worker: str,
        lease: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay, self._in_flight, self._report, self._worker = relay, in_flight, report, worker
        self._renew_every = lease / 4
        self._clock = clock
        self._renewed_at = self._reported_at = float("-inf")
        self.loop = PeriodicThread("heart", self._beat, pause_after_fault=CANCEL_POLL)

    def start(self) -> None:
        """Store the first heartbeat, then start the thread."""
        self._store_report(self._clock())
        self.loop.start()

    def stop(self) -> None:
        """Stop; no heartbeat follows."""
        self.loop.stop()

    def _beat(self) -> float:
        now = self._clock()
        if now - self._renewed_at >= self._renew_every:
            self._renew()
            self._renewed_at = now
        self._apply_cancels()
        if now - self._reported_at >= REPORT_EVERY:
            self._store_report(now)

        return min(CANCEL_POLL, self._renew_every)

    def _renew(self) -> None:
        """Mark as lost every call whose lease was not renewed, of those in flight before the renewal."""
        calls = self._in_flight.all()
        tokens = self._relay.execution.renew(self._worker, [call.claimed for call in calls]) if calls else {}
        for call in calls:
            if tokens.get(call.job_id) != call.claimed.token:
                call.lost.set()

    def _apply_cancels(self) -> None:
        if not (calls := self._in_flight.all()):
            return
        requested = set(self._relay.execution.cancel_requests(self._worker))
        for call in calls:
            if call.job_id in requested:
                call.cancelled.set()

    def _store_report(self, now: float) -> None:
        self._relay.maintenance.heartbeat(self._report())
        self._reported_at = now
