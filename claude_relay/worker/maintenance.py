"""Periodic maintenance: recovery from dead workers, deadlines, fallbacks, the hourly purge. One thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..errors import Conflict, StoreRefused, StoreUnavailable
from ..services import Relay
from .periodic import PeriodicThread
from .stale_leases import StaleLeaseDetector
from .worker_locks import WorkerLocks

log = logging.getLogger(__name__)

#: A worker on another machine is dead after this many seconds without a heartbeat. Its next heartbeat re-registers it.
WORKER_TIMEOUT = 120.0
#: Seconds between checks for dead workers, deadlines, free disk space, and expired content.
REAP, EXPIRE, TIDY, PURGE, FIRST_PURGE = 2.0, 1.0, 60.0, 3600.0, 60.0
#: The shared value that is written only to find out whether the store can be written.
_WRITE_PROBE = "lease_watch"


class MaintenanceThread:
    """Maintains the store for all workers; any of them may do it, as each step is a compare-and-set."""

    def __init__(
        self,
        relay: Relay,
        locks: WorkerLocks,
        *,
        worker: str,
        lease: float,
        delivery_lease: float,
        restore_reserve: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`restore_reserve` restores the disk reserve."""
        self._relay, self._locks, self._worker, self._clock = relay, locks, worker, clock
        self._keep_room = restore_reserve
        self._tidied_at = float("-inf")
        self._call_leases = StaleLeaseDetector(lease, clock=clock)
        self._delivery_leases = StaleLeaseDetector(delivery_lease, clock=clock)
        self._heartbeats = StaleLeaseDetector(WORKER_TIMEOUT, clock=clock)
        self._reaped_at = float("-inf")
        self._purge_at = clock() + FIRST_PURGE
        self.loop = PeriodicThread("upkeep", self._round)

    def start(self) -> None:
        """Start the thread; the first round recovers the jobs of dead workers."""
        self.loop.start()

    def stop(self) -> None:
        """Stop after the current round."""
        self.loop.stop()

    def _round(self) -> float:
        now = self._clock()
        if now - self._reaped_at >= REAP:
            self.reap()
            self._reaped_at = now
        for job in self._relay.maintenance.apply_fallbacks():
            log.info("job switched to another model", extra={"requestId": job.request_id, "model": job.model})
        for job in self._relay.maintenance.expire():
            log.info("job failed", extra={"requestId": job.request_id, "errorType": job.error_type})
        for name in self._relay.collection_actions.tend():
            log.warning("collection closed", extra={"collectionId": name, "why": "no request for a day"})
        if self._relay.deliveries.take_erasable_rows():
            self._relay.maintenance.erase_rows()
        if reminded := self._relay.acks.remind():
            log.info("reminded of unacknowledged results", extra={"jobs": reminded})
        if now - self._tidied_at >= TIDY:
            self._tidied_at = now
            self._keep_room()
            if count := self._relay.deliveries.expire_stalled():
                log.error("deliveries given up", extra={"deliveries": count})
            self._relay.maintenance.erase_rows()  # of callbacks that a dead process delivered
            self._relay.maintenance.scrub()
        if now >= self._purge_at:
            self._purge_at = now + PURGE
            if erased := self._relay.maintenance.purge(step_done=self.loop.beat):
                log.info("purged", extra={"jobs": erased})

        return EXPIRE

    def reap(self) -> None:
        """Take back jobs and deliveries of dead and frozen workers; none is frozen while the store is unwritable."""
        detectors = (self._call_leases, self._delivery_leases, self._heartbeats)
        try:
            if any(detector.doubtful for detector in detectors):
                self._relay.maintenance.set_shared(_WRITE_PROBE, True)
            self._deregister_dead_workers()
            self._reap_jobs()
            self._reap_deliveries()
        except StoreUnavailable:
            for detector in detectors:
                detector.start_over()
            raise

    def _deregister_dead_workers(self) -> None:
        workers = self._relay.maintenance.workers()
        silent = self._heartbeats.stale((worker.id, worker.seen_at) for worker in workers)
        for worker in workers:
            if worker.id == self._worker:
                continue
            if self._locks.dead(worker.id):
                self._relay.maintenance.deregister(worker.id)
                self._locks.remove(worker.id)
            elif self._locks.shared and worker.id in silent:
                self._relay.maintenance.deregister(worker.id)

    def _reap_jobs(self) -> None:
        running = [(job, job.lease) for job in self._relay.execution.running() if job.lease is not None]
        stale = self._call_leases.stale((lease.token, lease.expires_at) for _, lease in running)
        for job, lease in running:
            dead = self._dead(lease.worker)
            if dead or lease.token in stale:
                why = "the worker died" if dead else "the worker fell silent"
                if self._relay.execution.reap(job.id, lease.token, why=why) is not None:
                    log.warning("job taken back", extra={"requestId": job.request_id, "why": why})
        self._end_damaged_jobs(len(running))

    def _end_damaged_jobs(self, intact: int) -> None:
        """End jobs of dead workers whose row is damaged: the ledger names the worker, and who lives is registered."""
        if not (damaged := self._relay.execution.damaged_running(intact)):
            return
        registered = {worker.id for worker in self._relay.maintenance.workers()}
        why = "the worker died, and the row of the job in the store is damaged"
        for call in damaged:
            if call.worker in registered and not self._locks.dead(call.worker):
                continue
            try:
                job = self._relay.execution.reap(call.job_id, None, why=why)
            except (StoreRefused, Conflict):  # the file is damaged beyond this row: others are taken back all the same
                log.exception("damaged job left as it is", extra={"jobId": call.job_id})
                continue
            if job is not None:
                log.error("damaged job ended", extra={"requestId": job.request_id, "status": job.state.value})

    def _reap_deliveries(self) -> None:
        sending = [(row, row.lease) for row in self._relay.deliveries.sending() if row.lease is not None]
        stale = self._delivery_leases.stale((lease.token, lease.expires_at) for _, lease in sending)
        for delivery, lease in sending:
            if lease.token in stale or self._dead(lease.worker):
                self._relay.deliveries.reap(delivery, lease.token)

    def _dead(self, worker: str) -> bool:
        return worker != self._worker and self._locks.dead(worker)
