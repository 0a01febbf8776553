"""Housekeeping: what dead workers left behind, deadlines, the hourly purge. One thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable

from ..errors import StoreUnavailable
from ..services import Relay
from .locks import InstanceLocks
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: A worker elsewhere that has shown no sign of life for this long is gone, in seconds. It comes back with its next one.
DEAD_AFTER = 120.0
#: In seconds: how often to look for dead workers, deadlines, room on the disk, and what is past its time.
REAP, EXPIRE, TIDY, PURGE, FIRST_PURGE = 2.0, 1.0, 60.0, 3600.0, 60.0
#: What is written only to see whether it can be.
_WRITES = "lease_watch"


class StaleLeaseDetector:
    """
    Which leases stand still, by our own clock.

    A lease is stale when its expiry has not moved for as long as we have watched it: a lease's length. No two clocks
    are compared, so neither a clock that jumps nor one that is wrong takes a job from a living worker. Nor does a pause
    of the whole machine, or a store that was away: between two looks no more counts than a worker that lives takes to
    renew.
    """

    def __init__(self, lease: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._looked_at = clock()
        self._watched: dict[Hashable, tuple[float, float]] = {}

    def stale(self, leases: Iterable[tuple[Hashable, float]]) -> set[Hashable]:
        """Given (token, expires_at) of every lease there is now."""
        now = self._clock()
        passed, self._looked_at = min(now - self._looked_at, self._lease / 4), now
        seen = {}
        for token, expires_at in leases:
            known = self._watched.get(token)
            still = known[1] + passed if known is not None and known[0] == expires_at else 0.0
            seen[token] = (expires_at, still)
        self._watched = seen

        return {token for token, (_, still) in seen.items() if still >= self._lease}

    @property
    def doubtful(self) -> bool:
        """Whether one has stood still for so long that whoever holds it is dead, or cannot write."""
        return any(still >= self._lease / 2 for _, still in self._watched.values())

    def start_over(self) -> None:
        """The store could not be written, so that none could be renewed: what stood still until now says nothing."""
        self._watched.clear()


class MaintenanceThread:
    """Keeps the house in order for all workers; any of them may do it, as each step is a compare-and-set."""

    def __init__(
        self,
        relay: Relay,
        locks: InstanceLocks,
        *,
        worker: str,
        lease: float,
        delivery_lease: float,
        keep_room: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay, self._locks, self._worker, self._clock = relay, locks, worker, clock
        self._keep_room = keep_room
        self._tidied_at = float("-inf")
        self._calls = StaleLeaseDetector(lease, clock=clock)
        self._posts = StaleLeaseDetector(delivery_lease, clock=clock)
        self._signs = StaleLeaseDetector(DEAD_AFTER, clock=clock)
        self._reaped_at = float("-inf")
        self._purge_at = clock() + FIRST_PURGE
        self.loop = PeriodicThread("upkeep", self._round)

    def start(self) -> None:
        """Begin with what dead workers left behind."""
        self.loop.start()

    def stop(self) -> None:
        """After the present round."""
        self.loop.stop()

    def _round(self) -> float:
        now = self._clock()
        if now - self._reaped_at >= REAP:
            self.reap()
            self._reaped_at = now
        for job in self._relay.maintenance.apply_fallbacks():
            log.info("job turned to another model", extra={"requestId": job.request_id, "model": job.model})
        for job in self._relay.maintenance.expire():
            log.info("job failed", extra={"requestId": job.request_id, "errorType": job.error_type})
        if reminded := self._relay.acks.remind():
            log.info("reminded of results that nobody has acknowledged", extra={"jobs": reminded})
        if now - self._tidied_at >= TIDY:
            self._tidied_at = now
            self._keep_room()
            if count := self._relay.deliveries.expire_stalled():
                log.error("deliveries given up", extra={"deliveries": count})
            self._relay.maintenance.scrub()
        if now >= self._purge_at:
            self._purge_at = now + PURGE
            if erased := self._relay.maintenance.purge(step_done=self.loop.beat):
                log.info("purged", extra={"jobs": erased})

        return EXPIRE

    def reap(self) -> None:
        """Take back what dead and frozen workers hold. Nobody is taken for frozen who merely cannot write."""
        watches = (self._calls, self._posts, self._signs)
        try:
            if any(watch.doubtful for watch in watches):
                self._relay.maintenance.set_shared(_WRITES, True)
            self._take_back()
        except StoreUnavailable:
            for watch in watches:
                watch.start_over()
            raise

    def _take_back(self) -> None:
        dead = self._locks.dead
        workers = self._relay.maintenance.workers()
        away = self._signs.stale((worker.id, worker.seen_at) for worker in workers)
        for worker in workers:
            if worker.id == self._worker:
                continue
            if dead(worker.id):
                self._relay.maintenance.deregister(worker.id)
                self._locks.remove(worker.id)
            elif self._locks.shared and worker.id in away:
                self._relay.maintenance.deregister(worker.id)

        running = [(job, job.lease) for job in self._relay.execution.running() if job.lease is not None]
        frozen = self._calls.stale((lease.token, lease.expires_at) for _, lease in running)
        for job, lease in running:
            gone = lease.worker != self._worker and dead(lease.worker)
            if gone or lease.token in frozen:
                why = "the worker died" if gone else "the worker fell silent"
                if self._relay.execution.reap(job.id, lease.token, why=why) is not None:
                    log.warning("job taken back", extra={"requestId": job.request_id, "why": why})

        sending = [(one, one.lease) for one in self._relay.deliveries.sending() if one.lease is not None]
        hung = self._posts.stale((lease.token, lease.expires_at) for _, lease in sending)
        for delivery, lease in sending:
            if lease.token in hung or (lease.worker != self._worker and dead(lease.worker)):
                self._relay.deliveries.reap(delivery.id, lease.token)
