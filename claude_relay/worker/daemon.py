"""The worker process: starts its threads, and drains and stops them in order."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from .. import __version__
from ..config import Settings
from ..errors import RelayError, StoreUnavailable
from ..ports import (
    BatchApi,
    Claude,
    Fetcher,
    Listener,
    ModelLister,
    ReadyQueue,
    Sender,
    TextSink,
    Tracer,
    WorkerHeartbeat,
)
from ..services import Relay
from ..systemd import ServiceLoop, Supervisor
from .alert_sender import AlertSender
from .batch_runner import BatchRunner
from .checkpoints import CheckpointWriter
from .delivery_sender import DeliverySender
from .dispatcher import Dispatcher
from .executor import CallExecutor
from .files import Files
from .heartbeat import Heartbeat
from .inflight import InFlightCall, InFlightCalls
from .instance_lock import InstanceLock
from .maintenance import MaintenanceThread
from .meters import Meters
from .model_refresher import ModelRefresher
from .pacing import Pacing
from .periodic import STALL_TIMEOUT
from .search_indexer import SearchIndexer
from .worker_locks import WorkerLocks

log = logging.getLogger(__name__)

#: Seconds after the drain in which interrupted calls may store their partial results.
_INTERRUPT_GRACE = 20.0
#: Seconds between two messages to the supervisor.
_TICK = 0.5
#: Seconds past its own time limits, and without progress, after which a call counts as hung.
_HANG_GRACE = 120.0


class Daemon:
    """
    One worker process.

    `stop` once: it claims no more jobs and drains its calls for up to RELAY_DRAIN; the rest is interrupted and follows
    its onInterrupt. `stop` twice: all calls are interrupted at once.

    A reload hands over: the next generation claims from then on, and this one drains its calls however long they take.
    `reread` reads the settings again and returns them, None if they are invalid.
    `name` is the instance name, of which one worker runs at a time on a machine. `shared`: other machines may have
    workers too, whose locks are not in `folder`. `restore_reserve` restores the disk reserve.
    """

    def __init__(
        self,
        relay: Relay,
        claude: Claude,
        batches: BatchApi,
        sender: Sender,
        fetcher: Fetcher,
        alert_sender: Sender,
        ready: ReadyQueue,
        open_listener: Callable[[str], Listener],
        *,
        settings: Settings,
        folder: Path,
        shared: bool = False,
        pacing: Pacing | None = None,
        name: str | None = None,
        supervisor: Supervisor | None = None,
        restore_reserve: Callable[[], None] = lambda: None,
        models: ModelLister | None = None,
        texts: TextSink | None = None,
        tracer: Tracer | None = None,
        disk_free: Callable[[], int] | None = None,
        reread: Callable[[], Settings | None] = lambda: None,
    ) -> None:
        pacing = pacing or Pacing()
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._relay, self._claude, self._settings, self._texts = relay, claude, settings, texts
        self._stopping, self._ending, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._supervisor = supervisor or Supervisor()
        self._instance_lock = InstanceLock(folder, name, inherited=self._supervisor.handles.get("name"))
        self._started_at, self._reread = time.time(), reread
        self._in_flight = InFlightCalls()
        self._locks = WorkerLocks(folder, shared=shared)
        self._locks.acquire(self.id)
        self._wakeup = open_listener(self.id)
        files = Files(relay, fetcher)
        self._meters = Meters(relay, disk_free=disk_free)
        self._checkpoints = CheckpointWriter(relay)
        self._executor = CallExecutor(
            relay,
            claude,
            files,
            ending=self._ending,
            texts=texts,
            meters=self._meters,
            tracer=tracer,
            checkpoints=self._checkpoints,
            clock=relay.clock,
        )
        self._ready = ready
        self._dispatcher = Dispatcher(
            relay,
            ready,
            self._wakeup,
            self._run_call,
            worker=self.id,
            limit=settings.concurrency,
            in_flight=self._in_flight,
            pacing=pacing,
        )
        self._heartbeat = Heartbeat(relay, self._in_flight, report=self._report, worker=self.id, lease=settings.lease)
        self._deliveries = DeliverySender(
            relay, sender, worker=self.id, secrets=settings.webhook_secret, meters=self._meters, tracer=tracer
        )
        self._batch_runner = BatchRunner(
            relay, batches, files, worker=self.id, news=self._deliveries.wake, tracer=tracer, clock=relay.clock
        )
        self._maintenance = MaintenanceThread(
            relay,
            self._locks,
            worker=self.id,
            lease=settings.lease,
            delivery_lease=relay.policy.webhook_lease,
            restore_reserve=restore_reserve,
        )
        self._search_indexer = SearchIndexer(relay)
        self._alerts = AlertSender(
            relay,
            alert_sender,
            url=settings.alert_url,
            secrets=settings.webhook_secret,
            models=settings.models(),
            worker=self.id,
            folder=folder.parent,
        )
        self._model_refresher = (
            ModelRefresher(relay, models, provider=settings.provider) if models is not None else None
        )
        self._service_loop = ServiceLoop(
            self._supervisor,
            silent=self._hung,
            status=self._status,
            handles={} if self._instance_lock.handle is None else {"name": self._instance_lock.handle},
            wake=self._wake.set,
            reread=self._reread_secrets,
        )

    def run(self) -> int:
        """Run until stopped; returns the exit code."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            self._service_loop.listen(self._on_signal)
        log.info(
            "worker started", extra={"worker": self.id, "slots": self._settings.concurrency, "version": __version__}
        )
        self._ready.listen(self._wakeup.wake_self)
        for part in (
            self._heartbeat,
            self._maintenance,
            self._checkpoints,
            self._dispatcher,
            self._batch_runner,
            self._deliveries,
            self._alerts,
            self._meters,
            self._search_indexer,
        ):
            part.start()
        if self._model_refresher is not None:
            self._model_refresher.start()
        # The SDK takes seconds to load; a job that arrives meanwhile waits for the same import.
        threading.Thread(target=self._claude.open, name="warm-up", daemon=True).start()
        self._supervisor.ready(self._status())
        while not self._stopping.is_set():
            if self._service_loop.tick():
                self._retire()
                break
            self._wake.wait(_TICK)
            self._wake.clear()
        self._finish()

        return 0

    def stop(self) -> None:
        """Stop after the drain; a second call stops at once. Safe in a signal handler."""
        if self._stopping.is_set():
            self._ending.set()
        self._stopping.set()
        self._wake.set()

    def _retire(self) -> None:
        """Stop to claim, as the next generation does now, and drain the calls in flight without a time limit."""
        self._supervisor, self._service_loop = Supervisor(), self._service_loop.retired()
        if threading.current_thread() is threading.main_thread():
            # systemd means this signal for a later generation that hangs; here it is a planned stop.
            signal.signal(signal.SIGABRT, self._on_signal)
        self._instance_lock.release()
        self._dispatcher.stop_claiming()
        self._alerts.stop()
        self._maintenance.stop()
        self._search_indexer.stop()
        self._batch_runner.stop(_INTERRUPT_GRACE)
        self._deliveries.stop(self._settings.webhook_timeout)
        log.info("worker retired", extra={"worker": self.id, "running": len(self._in_flight)})
        while not self._stopping.is_set() and not self._in_flight.wait_idle(_TICK):
            pass

    def _finish(self) -> None:
        log.info("worker stopping", extra={"worker": self.id, "running": len(self._in_flight)})
        self._service_loop.stopping("stopping")
        self._dispatcher.stop_claiming()
        self._batch_runner.stop(min(self._settings.drain, _INTERRUPT_GRACE))
        if self._model_refresher is not None:
            self._model_refresher.stop()
        drained_by = time.monotonic() + self._settings.drain
        while not self._ending.is_set() and (left := drained_by - time.monotonic()) > 0:
            self._service_loop.stopping(f"stopping: bringing {len(self._in_flight)} calls to their end")
            if self._in_flight.wait_idle(min(left, _TICK)):
                break
        self._ending.set()
        if not self._in_flight.wait_idle(_INTERRUPT_GRACE):
            log.error("calls left behind", extra={"running": len(self._in_flight)})
        self._deliveries.stop(min(self._settings.drain, self._settings.webhook_timeout))
        self._alerts.stop()
        self._supervisor.outlive(
            lambda: self._service_loop.stopping("stopping: an earlier generation drains its calls")
        )
        self._maintenance.stop()
        self._search_indexer.stop()
        self._heartbeat.stop()
        self._checkpoints.stop()
        self._dispatcher.close()
        self._meters.stop()
        with contextlib.suppress(StoreUnavailable):  # then its free lock tells that it is dead
            self._relay.maintenance.deregister(self.id)
        self._wakeup.close()
        if self._texts is not None:
            self._texts.close()
        self._locks.release(self.id)
        self._instance_lock.release()
        log.info("worker stopped", extra={"worker": self.id})

    def _reread_secrets(self) -> None:
        if (settings := self._reread()) is not None:
            self._deliveries.secrets = self._alerts.secrets = settings.webhook_secret
            log.info("secrets read again", extra={"worker": self.id, "running": len(self._in_flight)})

    def _run_call(self, running: InFlightCall) -> None:
        job = self._executor.run(running)
        if job is not None and job.state.final:
            self._deliveries.wake()

    def _hung(self) -> str | None:
        """The name of a thread or call that hangs, for the watchdog; None if all make progress."""
        now, patience = time.monotonic(), min(STALL_TIMEOUT, (self._supervisor.watchdog or math.inf) / 2)
        loops = (
            self._dispatcher.loop,
            self._heartbeat.loop,
            self._maintenance.loop,
            self._checkpoints.loop,
            self._batch_runner.loop,
            self._alerts.watch,
            self._search_indexer.loop,
        )
        for loop in (*loops, *self._deliveries.loops):
            if not loop.alive(now, patience):
                return loop.name
        settings = self._settings
        hung = self._in_flight.stalled(
            now,
            longest=settings.call_timeout + _HANG_GRACE,
            silence=max(settings.idle_timeout, settings.first_byte_timeout) + _HANG_GRACE,
        )

        return None if hung is None else f"the call of {hung.claimed.job.request_id}"

    def _status(self) -> str:
        """The status line of `systemctl status`."""
        try:
            return f"{len(self._in_flight)} in flight, {self._relay.queries.queue_summary()}"
        except RelayError as exc:
            return f"{len(self._in_flight)} in flight; {exc}"

    def _report(self) -> WorkerHeartbeat:
        return WorkerHeartbeat(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            seen_at=self._relay.clock(),
            slots=self._settings.concurrency,
            running=len(self._in_flight),
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()
