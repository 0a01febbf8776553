"""
Word of ready jobs between machines that share a PostgreSQL: LISTEN and NOTIFY.

Every worker hears every id, and claims by compare-and-set, so that one of them has it. A notice is lost with the
connection that should have brought it: the sweep finds what it was about.
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
#: A notice takes 8,000 bytes; an id has 26 characters.
_TOGETHER = 250
#: What nobody takes up is found by the sweep.
_MOST = 10_000
#: How soon the listener sees that it is to stop, and tries again where the server is away, in seconds.
_TICK = 0.5


class PostgresNotifier:
    """Implements `ports.ReadyQueue`, and the bell that `Announcer` rings once the ids are put."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._out: list[str] = []
        self._heard: deque[str] = deque(maxlen=_MOST)
        self._telling: Connection | None = None
        self._stop = threading.Event()
        self._listener: threading.Thread | None = None

    def put(self, job_ids: Sequence[str]) -> None:
        """They go out with the next ring."""
        self._out.extend(job_ids)

    def notify(self) -> None:
        """Tell every worker to look, and at what. Never raises: the sweep makes up for it."""
        ids, self._out = self._out, []
        texts = [",".join(ids[start : start + _TOGETHER]) for start in range(0, len(ids), _TOGETHER)] or [""]
        for attempt in (1, 2):  # a connection that was lost since the last ring shows now
            try:
                self._tell(texts)
                return
            except psycopg.Error as exc:
                self._hang_up()
                if attempt == 2:
                    log.info("no word of ready jobs: the sweep finds them", extra={"error": type(exc).__name__})

    def take(self, limit: int) -> Sequence[str]:
        """Up to `limit` of the ids that were heard, without waiting."""
        taken: list[str] = []
        with contextlib.suppress(IndexError):
            while len(taken) < limit:
                taken.append(self._heard.popleft())

        return taken

    def listen(self, wake: Callable[[], None]) -> None:
        """Hear of ready jobs from now on; `wake` is called at each word, and after a time without any connection."""
        self._listener = threading.Thread(target=self._listen, args=(wake,), name="notices", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Hear and tell no more."""
        self._stop.set()
        if self._listener is not None:
            self._listener.join()
            self._listener = None
        self._hang_up()

    def _tell(self, texts: Sequence[str]) -> None:
        if self._telling is None:
            self._telling = self._connect()
        for text in texts:
            self._telling.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, text))

    def _hang_up(self) -> None:
        if self._telling is not None:
            self._telling.close()
            self._telling = None

    def _listen(self, wake: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {_CHANNEL}")
                    wake()
                    while not self._stop.is_set():
                        self._hear(connection, wake)
            except psycopg.Error as exc:
                log.info("no word of ready jobs: the server is away", extra={"error": type(exc).__name__})
                self._stop.wait(_TICK)

    def _hear(self, connection: Connection, wake: Callable[[], None]) -> None:
        for notice in connection.notifies(timeout=_TICK):
            self._heard.extend(job_id for job_id in notice.payload.split(",") if job_id)
            wake()
