"""The slots: how many calls run at once, and which job gets the next free one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..ports import Listener, ReadyQueue
from ..services import ClaimedJob, FamilyCapacity, Relay
from .inflight import InFlightCall, InFlightCalls
from .pacing import FIRST_WINDOW, Pacing
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: Seconds between sweeps, which claim jobs whose notification was lost, due retries, and jobs of a freed group.
SWEEP = 1.0
#: Seconds within which a commit is usually done.
_COMMIT = 0.05


class Dispatcher:
    """
    Claims jobs for free slots and runs them in threads, which are started on demand.

    A ready job is announced by the wake-up socket and the disk queue, and exactly that job is claimed. When more jobs
    wait than may run (for slots, or for capacity in a group or a family), the claim order decides instead, so that a
    head start counts and no job is overtaken: announced ids are then only drained, and freed capacity triggers a sweep.
    """

    def __init__(
        self,
        relay: Relay,
        ready: ReadyQueue,
        wakeup: Listener,
        run: Callable[[InFlightCall], object],
        *,
        worker: str,
        limit: int,
        in_flight: InFlightCalls,
        pacing: Pacing,
    ) -> None:
        self._relay, self._ready, self._wakeup, self._run = relay, ready, wakeup, run
        self._worker, self._limit, self._in_flight = worker, limit, in_flight
        self._pacing = pacing
        pacing.on_room = self._on_room
        self._pool = ThreadPoolExecutor(max_workers=limit, thread_name_prefix="call")
        self._backlogged = True  # until a sweep claims fewer jobs than there are free slots
        self._blocked = False  # whether due jobs wait for capacity in their group or family
        self._room_made = False  # whether an accepted call made room since the last claim began
        self._sweep_not_before = float("-inf")
        self._sweep_by = float("-inf")
        self.loop = PeriodicThread("slots", self._round)

    def start(self) -> None:
        """Start to claim jobs."""
        self.loop.start()

    def stop_claiming(self) -> None:
        """Claim no more jobs; calls in flight go on."""
        self._wakeup.wake_self()
        self.loop.stop()

    def close(self) -> None:
        """Release the threads, once no call is in flight."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self) -> float:
        free = self._limit - len(self._in_flight)
        if free > 0:
            self._start_all(self._claim(free))
            self._await_room()
        free = self._limit - len(self._in_flight)
        if free > 0 and self._backlogged:
            return 0.0
        # Without a free slot, the end of a call wakes this thread.
        self._wakeup.wait(max(0.01, self._sweep_by - time.monotonic()) if free > 0 else SWEEP)

        return 0.0

    def _claim(self, free: int) -> Sequence[ClaimedJob]:
        ids = self._ready.take(free)
        self._room_made = False
        capacity = FamilyCapacity(self._pacing.capacities(), FIRST_WINDOW)
        now = time.monotonic()
        if self._backlogged or now >= self._sweep_by or (self._blocked and now >= self._sweep_not_before):
            return self._sweep(free, capacity)
        if self._blocked:  # the next sweep claims these together with the jobs that have waited longer
            self._sweep_by = self._sweep_not_before
            return []
        if not ids:
            return []
        claimed = self._relay.execution.claim(self._worker, limit=free, ids=ids, capacity=capacity)
        if len(claimed) < len(ids):
            self._blocked, self._sweep_by = True, self._sweep_not_before

        return claimed

    def _sweep(self, free: int, capacity: FamilyCapacity) -> Sequence[ClaimedJob]:
        """Claim in the claim order, and schedule the next sweep."""
        began = time.monotonic()
        claimed = self._relay.execution.claim(self._worker, limit=free, capacity=capacity)
        self._backlogged = len(claimed) >= free
        capacity_in = None if self._backlogged else self._relay.execution.seconds_until_capacity()
        self._blocked = capacity_in is not None
        now = time.monotonic()
        # A long blocked queue takes a while to scan: leave most of the time to the other writers.
        took = now - began
        self._sweep_not_before = now + min(took if took < _COMMIT else 2 * took, SWEEP)
        self._sweep_by = now + SWEEP
        if capacity_in is not None:
            self._sweep_by = min(self._sweep_by, max(self._sweep_not_before, now + capacity_in))

        return claimed

    def _await_room(self) -> None:
        """Sweep earlier where a family has room again by then; called when all claimed jobs count as started."""
        now, room_in = time.monotonic(), self._pacing.next_in()
        if self._blocked:
            room_at = max(self._sweep_not_before, now if self._room_made else now + room_in)
        else:  # a family's hold in the store begins, and ends, a moment after this worker's own pause
            room_at = now + room_in + _COMMIT
        self._sweep_by = min(self._sweep_by, room_at)

    def _start_all(self, claimed: Sequence[ClaimedJob]) -> None:
        for number, job in enumerate(claimed):
            try:
                self._start(job)
            except (RuntimeError, MemoryError):  # no thread: release what cannot start, and retry in a later round
                for unstarted in claimed[number:]:
                    self._relay.execution.release(unstarted)
                raise

    def _start(self, claimed: ClaimedJob) -> None:
        running = self._in_flight.add(claimed, self._pacing.start(claimed.job.family))
        try:
            self._pool.submit(self._run_call, running)
        except (RuntimeError, MemoryError):
            # Should a thread pick it up later after all, its token is no longer valid.
            running.paced.ended()
            self._in_flight.remove(running)
            raise

    def _on_room(self) -> None:
        """Claim more jobs, if any were held back: called in a call's thread when upstream has accepted it."""
        self._room_made = True
        if self._blocked:
            self._wakeup.wake_self()

    def _run_call(self, running: InFlightCall) -> None:
        try:
            self._run(running)
        except Exception:
            # Should not happen; if it does, the lease expires and the job is taken back.
            log.exception("a slot failed", extra={"requestId": running.claimed.job.request_id})
        finally:
            self._in_flight.remove(running)
            self._wakeup.wake_self()
