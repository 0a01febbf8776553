"""
One call under watch, and the one thread that watches them all.

Read time-outs never fire against a drip, as every byte restarts them, so the deadlines are ours: when a call is overdue
or is told to stop, its socket is shut down, which wakes whoever reads from it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core.jobs.failure import ErrorType, Failure, Remedy, RequestOutcome
from ..core.policy import CALL_TIMEOUT, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT
from ..ports import Stop

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CallTimeouts:
    """
    How long to wait, in seconds.

    `first_byte` ends with Claude's first event, from when the request is out. `idle` is silence between events. Pings
    are signs of life, but they do not count for ever: after `patience` times `idle` without anything else they do not
    help. `checkpoint`: how often progress is told. `look`: how often the watchdog looks.
    """

    call_timeout: float = CALL_TIMEOUT
    first_byte: float = FIRST_BYTE_TIMEOUT
    idle: float = IDLE_TIMEOUT
    patience: float = 5.0
    connect: float = 10.0
    write: float = 60.0
    checkpoint: float = 1.0
    look: float = 0.25


class DeadlineExceeded(Exception):
    """The call was told to end before anything was sent."""


class CallDeadlines:
    """
    What is known about one call on the wire.

    `sent`: the first byte went out, and `sending` was called just before. `written`: all of the request did, so that
    Claude may be at work on it. `status` and `headers` are the answer's.
    """

    def __init__(
        self,
        *,
        stop: Stop,
        sending: Callable[[], None],
        going_on: Callable[[RequestOutcome], None],
        limits: CallTimeouts,
        clock: Callable[[], float],
    ) -> None:
        self.sent = False
        self.unrecorded: Exception | None = None
        self.verdict: Failure | None = None
        self._stop, self._sending, self._going_on, self._limits, self._clock = stop, sending, going_on, limits, clock
        self._lock = threading.Lock()
        self._began = clock()
        self.begin_request()

    def begin_request(self, before: RequestOutcome | None = None) -> None:
        """
        Another request of the same call begins: the whole of the call keeps its one deadline.

        `before`: how the one before ended; it is told as the first byte is about to go out.
        """
        self._before = before
        self.written = False
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.on_its_way = False
        self._socket: socket.socket | None = None
        self._waiting_since: float | None = None
        self._heard: float | None = None
        self._content: float | None = None

    def record_event(self, *, content: bool) -> None:
        """An event came; a ping is none with content."""
        self._heard = now = self._clock()
        if content:
            self._content = now

    def check(self) -> Failure | None:
        """Why the call should end, if it should; from then on its connection is dead."""
        if self.verdict is None:
            verdict = self._stop() or self._overdue()
            if verdict is not None:
                with self._lock:
                    self.verdict = self.verdict or verdict
                    self._shut()

        return self.verdict

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """What httpx tells while it works: the one place that knows when the first byte goes out."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.verdict is not None:
                    self._shut()
        elif name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self._go()
        elif self.on_its_way and name.endswith(("send_request_body.complete", "send_request_body.failed")):
            self.written = name.endswith("complete")
            self._waiting_since = self._clock()
        elif self.on_its_way and name.endswith("receive_response_headers.complete"):
            _, self.status, _, headers = info["return_value"]
            self.headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in headers}

    def _go(self) -> None:
        if self.check() is not None:
            raise DeadlineExceeded
        try:
            if not self.sent:
                self._sending()
            elif self._before is not None:
                self._going_on(self._before)
        except Exception as exc:
            self.unrecorded = exc
            raise DeadlineExceeded from exc
        self.sent = self.on_its_way = True

    def _overdue(self) -> Failure | None:
        now, limits = self._clock(), self._limits
        if now - self._began >= limits.call_timeout:
            return _timeout(f"the call took longer than {_span(limits.call_timeout)}", "call_timeout")
        if self._heard is None or self._content is None:
            if self._waiting_since is not None and now - self._waiting_since >= limits.first_byte:
                return _timeout(
                    f"Claude did not begin to answer within {_span(limits.first_byte)}", "first_byte_timeout"
                )
        elif now - self._heard >= limits.idle:
            return _timeout(f"Claude's answer stood still for {_span(limits.idle)}", "idle_timeout")
        elif now - self._content >= limits.idle * limits.patience:
            silence = _span(limits.idle * limits.patience)
            return _timeout(f"Claude sent nothing but signs of life for {silence}", "idle_timeout")

        return None

    def _shut(self) -> None:
        if self._socket is not None:
            # The plain socket's shutdown, under TLS too: SSLSocket's own one would pull the rug from under the reader.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class DeadlineThread:
    """The thread that looks at every call a few times a second, and sleeps while there is none."""

    def __init__(self, *, every: float) -> None:
        self._every = every
        self._watches: set[CallDeadlines] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def expired(self, watch: CallDeadlines) -> Iterator[None]:
        """Watch it for as long as the block runs."""
        with self._changed:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claude-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watches.discard(watch)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            watches = list(self._watches)
        for watch in watches:  # whose stop may say so by now
            self._look(watch)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._watches)
                if not self._closed:
                    self._changed.wait_for(lambda: self._closed, timeout=self._every)
                if self._closed:
                    return
                watches = list(self._watches)
            for watch in watches:
                self._look(watch)

    def _look(self, watch: CallDeadlines) -> None:
        try:
            watch.check()
        except Exception:
            # One call whose stop flag cannot be read must not leave all the others without a watch.
            log.exception("a call could not be looked at")


def _timeout(message: str, reason: str) -> Failure:
    return Failure(type=ErrorType.TIMEOUT, message=message, remedy=Remedy.RETRY, reason=reason)


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
