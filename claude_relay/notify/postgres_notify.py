"""
Notifications between machines that share a PostgreSQL: LISTEN and NOTIFY.

Every worker receives every id, and claims by compare-and-set, so that one of them gets the job. A notification is lost
with its connection: the sweep finds its jobs.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    Connection = psycopg.Connection[Any]

log = logging.getLogger(__name__)

_CHANNEL = "claude_relay_ready"
#: Ids in one notification, which has 8,000 bytes at most; an id has 26 characters.
_MAX_IDS = 250
#: The most received ids that are kept; the sweep finds the others.
_MAX_RECEIVED = 10_000
#: How often the listener checks whether it should stop, and reconnects to a server that is down, in seconds.
_TICK = 0.5


class PostgresNotifier:
    """Implements `ports.ReadyQueue`, and the notifier that `BackgroundNotifier` calls after the ids were put."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._out: list[str] = []
        self._received: deque[str] = deque(maxlen=_MAX_RECEIVED)
        self._sending: Connection | None = None
        self._stop = threading.Event()
        self._listener: threading.Thread | None = None

    def put(self, job_ids: Sequence[str]) -> None:
        """Queue the ids for the next `notify`."""
        self._out.extend(job_ids)

    def notify(self) -> None:
        """Notify every worker of the queued ids. Never raises: the sweep finds lost ones."""
        ids, self._out = self._out, []
        payloads = [",".join(ids[start : start + _MAX_IDS]) for start in range(0, len(ids), _MAX_IDS)] or [""]
        for attempt in (1, 2):  # a connection lost since the last notification fails now
            try:
                self._send(payloads)
                return
            except psycopg.Error as exc:
                self._disconnect()
                if attempt == 2:
                    log.info("notification failed: the sweep finds the jobs", extra={"error": type(exc).__name__})

    def take(self, limit: int) -> Sequence[str]:
        """Take up to `limit` received ids without waiting."""
        taken: list[str] = []
        with contextlib.suppress(IndexError):
            while len(taken) < limit:
                taken.append(self._received.popleft())

        return taken

    def listen(self, wake: Callable[[], None]) -> None:
        """Receive notifications from now on; `wake` is called at each of them, and after each reconnect."""
        self._listener = threading.Thread(target=self._listen, args=(wake,), name="notifications", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Stop listening, and disconnect."""
        self._stop.set()
        if self._listener is not None:
            self._listener.join()
            self._listener = None
        self._disconnect()

    def _send(self, payloads: Sequence[str]) -> None:
        if self._sending is None:
            self._sending = self._connect()
        for payload in payloads:
            self._sending.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, payload))

    def _disconnect(self) -> None:
        if self._sending is not None:
            self._sending.close()
            self._sending = None

    def _listen(self, wake: Callable[[], None]) -> None:
        interrupted = False
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    interrupted = False
                    connection.execute(f"LISTEN {_CHANNEL}")
                    wake()
                    while not self._stop.is_set():
                        self._receive(connection, wake)
            except psycopg.Error as exc:
                if not interrupted:  # one line an outage
                    log.info("notifications interrupted: the server is down", extra={"error": type(exc).__name__})
                interrupted = True
                self._stop.wait(_TICK)

    def _receive(self, connection: Connection, wake: Callable[[], None]) -> None:
        for notice in connection.notifies(timeout=_TICK):
            self._received.extend(job_id for job_id in notice.payload.split(",") if job_id)
            wake()
