"""The alert for a store that does not answer (PostgreSQL is down), kept in memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from ..core import alerts as rules
from ..services import Relay
from .memory_alert import MemoryAlert
from .open_alert import OpenAlert

#: A restart of the server, or a lock, is no reason for an alert: one is raised after this many seconds.
PATIENCE = 10.0


class AwayStoreAlert(MemoryAlert):
    """
    Raised once an outage, and sent by one process of each machine.

    That is the first worker that was alive at the last check. `worker` is the id of this one, None for the API, which
    sends where there was no worker. So both send where the first worker started after the API's last check, at most
    `alert_sender.EVERY` seconds before the outage.
    """

    def __init__(
        self, relay: Relay, *, worker: str | None, clock: Callable[[], float], kept: OpenAlert | None = None
    ) -> None:
        super().__init__(relay, clock=clock, kept=kept)
        self._worker = worker
        self._failed_at: float | None = None
        self._since = 0.0
        self._sender: str | None = worker

    def failed(self, error: str) -> None:
        """Count a failed look at the store."""
        now = self._clock()
        if self._failed_at is None:
            self._failed_at, self._since = now, time.time()
        if now - self._failed_at >= PATIENCE and not self.raised:
            alert = rules.store_away(error, since=self._since, host=socket.gethostname())
            self._raise(alert, sends=self._sender == self._worker)

    def answered(self) -> None:
        """The store answers; if an alert was raised, its cause has ended."""
        if self.raised:
            self._end()
        self._failed_at = None
        workers = self._relay.alerts.living_workers(socket.gethostname())
        self._sender = min(workers, default=None)
