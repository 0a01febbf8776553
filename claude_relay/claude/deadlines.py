"""
Deadlines of running calls, and the thread that enforces them.

Read timeouts never fire against a slow drip, because every byte restarts them, so the deadlines are kept here: when a
call is overdue or is to stop, its socket is shut down, which wakes the thread that reads from it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..core.jobs.failure import ErrorType, Failure, Remedy, RequestOutcome
from ..core.lazy_dataclass import dataclass
from ..core.policy import CALL_TIMEOUT, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT, MAX_ANSWER
from ..ports import Stop

log = logging.getLogger(__name__)


#: Seconds between two checkpoints of an answer. Where machines share a store, readers elsewhere see the text through
#: them: with the time until it is read again (`events/hub.py`) that is less than a second.
CHECKPOINT, CHECKPOINT_SHARED = 1.0, 0.55


@dataclass(frozen=True, kw_only=True)
class CallTimeouts:
    """
    Time limits of a call, in seconds.

    `first_byte` is the time from the end of the request to Claude's first event. `idle` is the time between events.
    Pings count as events, but not for ever: after `patience` times `idle` with pings only, the call has timed out.
    `max_answer`: characters of an answer, which is bounded like its time.
    `checkpoint`: interval between progress reports. `check_interval`: interval between checks of the deadlines.
    """

    call_timeout: float = CALL_TIMEOUT
    first_byte: float = FIRST_BYTE_TIMEOUT
    idle: float = IDLE_TIMEOUT
    patience: float = 5.0
    connect: float = 10.0
    write: float = 60.0
    max_answer: int = MAX_ANSWER
    checkpoint: float = CHECKPOINT
    check_interval: float = 0.25


class DeadlineExceeded(Exception):
    """The call was to end before anything was sent."""


class CallDeadlines:
    """
    Progress and deadlines of one call.

    `sent`: the first byte went out, and `sending` was called just before. `written`: the complete request went out, so
    that Claude may be working on it. `status` and `headers` are those of the response.
    """

    def __init__(
        self,
        *,
        stop: Stop,
        sending: Callable[[], None],
        on_followup: Callable[[RequestOutcome], None],
        accepted: Callable[[], None] = lambda: None,
        limits: CallTimeouts,
        clock: Callable[[], float],
    ) -> None:
        self.sent = False
        self.unrecorded: Exception | None = None
        self.verdict: Failure | None = None
        self._stop, self._sending, self._on_followup = stop, sending, on_followup
        self._accepted: Callable[[], None] | None = accepted
        self._limits, self._clock = limits, clock
        self.on_connected: Callable[[], None] = lambda: None
        self.max_answer = limits.max_answer
        self._lock = threading.Lock()
        self._started_at = clock()
        self.begin_request()

    def begin_request(self, previous: RequestOutcome | None = None) -> None:
        """
        Start another request of the same call; the call keeps its overall deadline.

        `previous`: outcome of the previous request, reported just before the first byte goes out.
        """
        self._previous = previous
        self.written = False
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.request_started = False
        self._socket: socket.socket | None = None
        self._waiting_since: float | None = None
        self._last_event_at: float | None = None
        self._last_content_at: float | None = None

    def record_event(self, *, content: bool) -> None:
        """Note an event; pings are without content."""
        self._last_event_at = now = self._clock()
        if content:
            self._last_content_at = now

    def check(self) -> Failure | None:
        """Why the call should end, or None; shuts its connection down if it should."""
        if self.verdict is None:
            verdict = self._stop() or self._overdue()
            if verdict is not None:
                with self._lock:
                    self.verdict = self.verdict or verdict
                    self._shut()

        return self.verdict

    def connected(self, sock: socket.socket) -> None:
        """Note the socket of the request, which another thread may shut down from now on."""
        with self._lock:
            self._socket = sock
            if self.verdict is not None:
                self._shut()
        self.on_connected()

    def before_first_byte(self) -> None:
        """Report that the request is about to be sent; raises `DeadlineExceeded` if it must not be."""
        if self.check() is not None:
            raise DeadlineExceeded
        try:
            if not self.sent:
                self._sending()
            elif self._previous is not None:
                self._on_followup(self._previous)
        except Exception as exc:
            self.unrecorded = exc
            raise DeadlineExceeded from exc
        self.sent = self.request_started = True

    def request_ended(self, *, complete: bool) -> None:
        """Note that the request was sent, or broke off."""
        self.written = complete
        self._waiting_since = self._clock()

    def response_began(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Note the head of the response."""
        self.status, self.headers = status, {name.lower(): value for name, value in headers}
        if 200 <= status < 300:
            self._report_acceptance()

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Trace callback of httpx, for requests through a proxy."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self.connected(info["return_value"].get_extra_info("socket"))
        elif name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.before_first_byte()
        elif self.request_started and name.endswith(("send_request_body.complete", "send_request_body.failed")):
            self.request_ended(complete=name.endswith("complete"))
        elif self.request_started and name.endswith("receive_response_headers.complete"):
            _, status, _, headers = info["return_value"]
            self.response_began(status, ((key.decode("latin-1"), value.decode("latin-1")) for key, value in headers))

    def _report_acceptance(self) -> None:
        """Report the first 2xx response of the call."""
        report, self._accepted = self._accepted, None
        if report is None:
            return
        try:
            report()
        except Exception:
            log.warning("an accepted call could not be reported", exc_info=True)  # the answer is read all the same

    def _overdue(self) -> Failure | None:
        now, limits = self._clock(), self._limits
        if now - self._started_at >= limits.call_timeout:
            return _timeout(f"the call took longer than {_span(limits.call_timeout)}", "call_timeout")
        if self._last_event_at is None or self._last_content_at is None:
            if self._waiting_since is not None and now - self._waiting_since >= limits.first_byte:
                return _timeout(
                    f"Claude did not begin to answer within {_span(limits.first_byte)}", "first_byte_timeout"
                )
        elif now - self._last_event_at >= limits.idle:
            return _timeout(f"Claude's answer stalled for {_span(limits.idle)}", "idle_timeout")
        elif now - self._last_content_at >= limits.idle * limits.patience:
            silence = _span(limits.idle * limits.patience)
            return _timeout(f"Claude sent nothing but pings for {silence}", "idle_timeout")

        return None

    def _shut(self) -> None:
        if self._socket is not None:
            # The plain socket's shutdown, under TLS too: SSLSocket.shutdown drops the TLS state that the reader uses.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class DeadlineThread:
    """
    Thread that checks every running call a few times a second, and sleeps while there are none.

    A call wakes it when it is connected: before that there is no socket to shut down, and its thread would compete with
    the call's for the interpreter while the request is made (*measured*: 230 µs until the connection instead of 520).
    """

    def __init__(self, *, every: float) -> None:
        self._every = every
        self._watched: dict[CallDeadlines, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._closed = self._asleep = False
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, deadlines: CallDeadlines, tick: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Enforce the deadlines while the block runs, and call `tick` after each check."""
        with self._changed:
            self._watched[deadlines] = tick
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claude-watchdog", daemon=True)
                self._thread.start()
        deadlines.on_connected = self._wake
        try:
            yield
        finally:
            with self._changed:
                del self._watched[deadlines]

    def close(self) -> None:
        """Stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            watched = list(self._watched)
        for deadlines in watched:  # their `stop` may be set by now
            self._check(deadlines)
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._asleep:
            with self._changed:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._asleep = True
                self._changed.wait_for(lambda: self._closed or self._watched)
                self._asleep = False
                if not self._closed:
                    self._changed.wait_for(lambda: self._closed, timeout=self._every)
                if self._closed:
                    return
                watched = list(self._watched.items())
            for deadlines, tick in watched:
                self._check(deadlines, tick)

    def _check(self, deadlines: CallDeadlines, tick: Callable[[], None] = lambda: None) -> None:
        try:
            deadlines.check()
            tick()
        except Exception:
            # A call whose stop flag cannot be read must not leave the others without deadlines.
            log.exception("deadline check failed")


def _timeout(message: str, reason: str) -> Failure:
    return Failure(type=ErrorType.TIMEOUT, message=message, remedy=Remedy.RETRY, reason=reason)


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
