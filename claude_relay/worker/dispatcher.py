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

#: The sweep finds what a lost id, a due retry or a freed group left behind: this often, in seconds.
SWEEP = 1.0


class Dispatcher:
    """
    Claims jobs for free slots and runs them in threads, which come as they are needed.

    Word of a ready job comes by the bell and the disk queue, and those very jobs are claimed. When more waits than
    may run (for slots, or for room in a group or a family), the order of claiming rules instead, so that a head start
    counts and nobody is overtaken: ids are only drained then, and each sign of room brings a sweep.
    """

    def __init__(
        self,
        relay: Relay,
        ready: ReadyQueue,
        door: Listener,
        run: Callable[[InFlightCall], object],
        *,
        worker: str,
        limit: int,
        in_hand: InFlightCalls,
        pacing: Pacing,
    ) -> None:
        self._relay, self._ready, self._door, self._run = relay, ready, door, run
        self._worker, self._limit, self._in_hand = worker, limit, in_hand
        self._pacing = pacing
        self._pool = ThreadPoolExecutor(max_workers=limit, thread_name_prefix="call")
        self._behind = True  # until a sweep has found less than it had room for
        self._held_back = False  # jobs that were due found no room in their group or family
        self._swept_at = self._sweep_from = float("-inf")
        self._sweep_by = float("-inf")
        self.loop = PeriodicThread("slots", self._round)

    def start(self) -> None:
        """Take jobs from now on."""
        self.loop.start()

    def stop_claiming(self) -> None:
        """Take no more; what runs goes on."""
        self._door.wake_self()
        self.loop.stop()

    def close(self) -> None:
        """Once nothing is in hand."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self) -> float:
        free = self._limit - len(self._in_hand)
        if free > 0:
            self._begin(self._claim(free))
        free = self._limit - len(self._in_hand)
        if free > 0 and self._behind:
            return 0.0
        # Without a free slot, the end of a call knocks.
        self._door.wait(max(0.01, self._sweep_by - time.monotonic()) if free > 0 else SWEEP)

        return 0.0

    def _claim(self, free: int) -> Sequence[ClaimedJob]:
        ids = self._ready.take(free)
        rooms = FamilyCapacity(self._pacing.capacities(), FIRST_WINDOW)
        now = time.monotonic()
        if self._behind or now >= self._swept_at + SWEEP or (self._held_back and now >= self._sweep_from):
            return self._sweep(free, rooms)
        if self._held_back:  # who came now is found with those that have waited longer
            self._sweep_by = self._sweep_from
            return []
        if not ids:
            return []
        claimed = self._relay.execution.claim(self._worker, limit=free, ids=ids, rooms=rooms)
        if len(claimed) < len(ids):
            self._held_back, self._sweep_by = True, self._sweep_from

        return claimed

    def _sweep(self, free: int, rooms: FamilyCapacity) -> Sequence[ClaimedJob]:
        """Claim in the order of claiming, and settle when to look again."""
        began = time.monotonic()
        claimed = self._relay.execution.claim(self._worker, limit=free, rooms=rooms)
        self._behind = len(claimed) >= free
        room_in = None if self._behind else self._relay.execution.seconds_until_capacity()
        self._held_back = room_in is not None
        self._swept_at = now = time.monotonic()
        # A long queue that stands still takes a while to pass over: most of the time is for the others who write.
        self._sweep_from = now + min(2 * (now - began), SWEEP)
        self._sweep_by = now + SWEEP
        if room_in is not None:
            self._sweep_by = min(self._sweep_by, max(self._sweep_from, now + min(room_in, self._pacing.next_in())))

        return claimed

    def _begin(self, claimed: Sequence[ClaimedJob]) -> None:
        for number, one in enumerate(claimed):
            try:
                self._start(one)
            except RuntimeError:  # no thread to be had: what cannot begin goes back, and the next round comes later
                for unbegun in claimed[number:]:
                    self._relay.execution.release(unbegun)
                raise

    def _start(self, claimed: ClaimedJob) -> None:
        self._pacing.record_start(claimed.job.family)
        running = self._in_hand.add(claimed)
        try:
            self._pool.submit(self._see_through, running)
        except RuntimeError:
            # If a thread takes it up later after all, its token is no longer good.
            self._pacing.record_end(claimed.job.family, throttled=False, well=False)
            self._in_hand.remove(running)
            raise

    def _see_through(self, running: InFlightCall) -> None:
        try:
            self._run(running)
        except Exception:
            # Nothing should come here; if it does, the lease runs out and the job is found again.
            log.exception("a slot failed", extra={"requestId": running.claimed.job.request_id})
        finally:
            self._in_hand.remove(running)
            self._door.wake_self()
