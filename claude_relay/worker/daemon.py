"""The worker: starts everything, and brings it to a good end."""

from __future__ import annotations

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
from ..errors import RelayError
from ..ports import BatchApi, Claude, Fetcher, Listener, ModelLister, ReadyQueue, Sender, WorkerHeartbeat
from ..services import Relay
from ..systemd import ServiceLoop, Supervisor
from .alert_sender import AlertSender
from .batch_runner import BatchRunner
from .delivery_sender import DeliverySender
from .dispatcher import Dispatcher
from .executor import CallExecutor
from .files import Files
from .heartbeat import Heartbeat
from .inflight import InFlightCall, InFlightCalls
from .locks import InstanceLock, InstanceLocks
from .maintenance import MaintenanceThread
from .model_refresher import ModelRefresher
from .pacing import Pacing
from .periodic import JOIN_TIMEOUT

log = logging.getLogger(__name__)

#: After the drain, calls that are given up have this long to store what they had, in seconds.
_LAST_WORDS = 20.0
#: How often the supervisor is looked after, in seconds.
_TICK = 0.5
#: A call is given up on by the watchdog only when it is so far past its own deadline, and has been silent as long.
_GRACE = 120.0


class Daemon:
    """
    One worker process.

    `stop` once: nothing new is claimed, what runs is brought home for up to RELAY_DRAIN, the rest is given up and goes
    the way of its onInterrupt. `stop` twice: it is given up at once.

    A reload hands over: the next generation claims from then on, and this one brings its calls home however long they
    take. `name` is what an instance is called, of which there is one at a time on a machine. `shared`: there may be
    workers on other machines, whose locks are not in `folder`.
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
        keep_room: Callable[[], None] = lambda: None,
        models: ModelLister | None = None,
    ) -> None:
        pacing = pacing or Pacing()
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._relay, self._claude, self._settings = relay, claude, settings
        self._stopping, self._ending, self._look = threading.Event(), threading.Event(), threading.Event()
        self._above = supervisor or Supervisor()
        self._name = InstanceLock(folder, name, inherited=self._above.handles.get("name"))
        self._started_at = time.time()
        self._in_hand = InFlightCalls()
        self._locks = InstanceLocks(folder, shared=shared)
        self._locks.hold(self.id)
        self._door = open_listener(self.id)
        files = Files(relay, fetcher)
        self._caller = CallExecutor(relay, claude, files, pacing=pacing, ending=self._ending)
        self._ready = ready
        self._slots = Dispatcher(
            relay,
            ready,
            self._door,
            self._run_one,
            worker=self.id,
            limit=settings.concurrency,
            in_hand=self._in_hand,
            pacing=pacing,
        )
        self._heart = Heartbeat(relay, self._in_hand, seen=self._seen, worker=self.id, lease=settings.lease)
        self._deliveries = DeliverySender(relay, sender, worker=self.id, secrets=settings.webhook_secret)
        self._batching = BatchRunner(relay, batches, files, worker=self.id, news=self._deliveries.wake)
        self._upkeep = MaintenanceThread(
            relay,
            self._locks,
            worker=self.id,
            lease=settings.lease,
            delivery_lease=relay.policy.webhook_lease,
            keep_room=keep_room,
        )
        self._alerts = AlertSender(
            relay, alert_sender, url=settings.alert_url, secrets=settings.webhook_secret, models=settings.models()
        )
        self._lookup = ModelRefresher(relay, models, provider=settings.provider) if models is not None else None
        self._keeper = ServiceLoop(
            self._above,
            silent=self._silent,
            status=self._status,
            handles={} if self._name.handle is None else {"name": self._name.handle},
            wake=self._look.set,
        )

    def run(self) -> int:
        """Until it is stopped; answers the exit code."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            self._keeper.listen()
        log.info(
            "worker started", extra={"worker": self.id, "slots": self._settings.concurrency, "version": __version__}
        )
        self._ready.listen(self._door.wake_self)
        for part in (self._heart, self._upkeep, self._slots, self._batching, self._deliveries, self._alerts):
            part.start()
        if self._lookup is not None:
            self._lookup.start()
        # The SDK takes seconds to load; a job that comes meanwhile waits for the same import.
        threading.Thread(target=self._claude.open, name="warm-up", daemon=True).start()
        self._above.ready(self._status())
        while not self._stopping.is_set():
            if self._keeper.tick():
                self._retire()
                break
            self._look.wait(_TICK)
            self._look.clear()
        self._finish()

        return 0

    def stop(self) -> None:
        """Asked to stop; asked again, at once. Safe in a signal handler."""
        if self._stopping.is_set():
            self._ending.set()
        self._stopping.set()
        self._look.set()

    def _retire(self) -> None:
        """The next generation claims now: nothing new here, and what runs may take as long as it takes."""
        self._above, self._keeper = Supervisor(), self._keeper.retired()
        if threading.current_thread() is threading.main_thread():
            # Meant for a hung generation that came after; here it is a planned stop.
            signal.signal(signal.SIGABRT, self._on_signal)
        self._name.let_go()
        self._slots.stop_claiming()
        self._alerts.stop()
        self._upkeep.stop()
        self._batching.stop(_LAST_WORDS)
        self._deliveries.stop(self._settings.webhook_timeout)
        log.info("worker retired", extra={"worker": self.id, "running": len(self._in_hand)})
        while not self._stopping.is_set() and not self._in_hand.wait_idle(_TICK):
            pass

    def _finish(self) -> None:
        log.info("worker stopping", extra={"worker": self.id, "running": len(self._in_hand)})
        self._keeper.stopping("stopping")
        self._slots.stop_claiming()
        self._batching.stop(min(self._settings.drain, _LAST_WORDS))
        if self._lookup is not None:
            self._lookup.stop()
        give_up = time.monotonic() + self._settings.drain
        while not self._ending.is_set() and (left := give_up - time.monotonic()) > 0:
            self._keeper.stopping(f"stopping: {len(self._in_hand)} calls to bring home")
            if self._in_hand.wait_idle(min(left, _TICK)):
                break
        self._ending.set()
        if not self._in_hand.wait_idle(_LAST_WORDS):
            log.error("calls left behind", extra={"running": len(self._in_hand)})
        self._deliveries.stop(min(self._settings.drain, self._settings.webhook_timeout))
        self._alerts.stop()
        self._above.outlive(lambda: self._keeper.stopping("stopping: an earlier generation brings its calls home"))
        self._upkeep.stop()
        self._heart.stop()
        self._slots.close()
        self._relay.maintenance.deregister(self.id)
        self._door.close()
        self._locks.release(self.id)
        self._name.let_go()
        log.info("worker stopped", extra={"worker": self.id})

    def _run_one(self, running: InFlightCall) -> None:
        job = self._caller.run(running)
        if job is not None and job.state.final:
            self._deliveries.wake()

    def _silent(self) -> str | None:
        """What has shown no life for too long."""
        now, patience = time.monotonic(), min(JOIN_TIMEOUT, (self._above.watchdog or math.inf) / 2)
        rounds = (self._slots.loop, self._heart.loop, self._upkeep.loop, self._batching.loop, self._alerts.watch)
        for loop in (*rounds, *self._deliveries.loops):
            if not loop.alive(now, patience):
                return loop.name
        settings = self._settings
        stuck = self._in_hand.stalled(
            now,
            longest=settings.call_timeout + _GRACE,
            silence=max(settings.idle_timeout, settings.first_byte_timeout) + _GRACE,
        )

        return None if stuck is None else f"the call of {stuck.claimed.job.request_id}"

    def _status(self) -> str:
        """One line for `systemctl status`."""
        try:
            return f"{len(self._in_hand)} in flight, {self._relay.queries.queue_summary()}"
        except RelayError as exc:
            return f"{len(self._in_hand)} in flight; {exc}"

    def _seen(self) -> WorkerHeartbeat:
        return WorkerHeartbeat(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            seen_at=time.time(),
            slots=self._settings.concurrency,
            running=len(self._in_hand),
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()
