"""HTTP requests to URLs chosen by callers: with the SSRF guard, bounded in time, memory and threads."""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import field, replace

import certifi

from ..core.lazy_dataclass import dataclass
from .allowlist import PrivateAllowlist
from .error_text import describe, is_exhausted, is_local_fault
from .pinned_connection import CancellableSocket, PinnedConnection
from .reused_threads import ReusedThreads
from .ssrf_guard import Blocked, Checked, Resolver, literal_problem, resolve
from .url import WebhookUrl, parse_url

#: Bytes read of a reply whose body is not needed. More than is stored, so that most replies are read to their end.
MAX_REPLY = 65_536

#: Timeout text of the lookup phase: the fault of our resolver, or of the name servers.
_LOOKUP = "could not be looked up"

#: Seconds between two checks of the caller's `stop`.
_STOP_INTERVAL = 0.2


@dataclass(frozen=True, kw_only=True)
class HttpResult:
    """
    The result of a request: a status with headers and body, or an error text and no status.

    `complete`: the body was read to its end; otherwise it broke off, timed out, or exceeded the limit.
    """

    host: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # by lower-case name
    body: bytes | bytearray = field(default=b"", repr=False)
    complete: bool = False
    error: str | None = None
    blocked: bool = False
    timed_out: bool = False  # the deadline passed
    local_fault: bool = False  # the fault is, or may be, on this machine
    exhausted: bool = False  # this machine was out of threads, file handles or memory


@functools.cache
def tls_context() -> ssl.SSLContext:
    """
    TLS context that trusts the authorities of `certifi` and those of this machine; one for all clients of a process.

    Each has some 170 certificates (*measured*: 1 to 2 MB).
    """
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])

    return context


class GuardedHttpClient:
    """
    Client for all requests to URLs chosen by callers: one guard, one way to connect.

    Each request has a thread and a connection to itself. The caller's thread waits until the deadline, then shuts the
    connection down and returns. Only name lookups cannot be cancelled: a lookup that hangs keeps its thread until the
    system gives up, so the number of threads is limited.
    """

    def __init__(
        self,
        *,
        allow: PrivateAllowlist | None,
        timeout: float,
        limit: int,
        trust: ssl.SSLContext | None,
        resolver: Resolver,
    ) -> None:
        self._allow = allow or PrivateAllowlist()
        self._timeout = timeout
        self._slots = threading.BoundedSemaphore(limit)
        self._threads = ReusedThreads("http")
        self._trust = trust or tls_context()
        self._resolver = resolver

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        max_body: int = MAX_REPLY,
        admit: Callable[[int | None], bool] = lambda length: True,
        stop: Callable[[], object] = lambda: None,
    ) -> HttpResult:
        """
        Make the request. Never raises.

        Redirects are not followed. Reads up to `max_body` bytes of a 2xx reply's body, at most `MAX_REPLY` of others.
        Before the body, calls `admit` with the declared length: it may wait, which does not count against the
        deadline, or refuse. `stop` is polled during the request: any true value ends it.
        """
        deadline = time.monotonic() + self._timeout
        if problem := literal_problem(url, self._allow):
            return HttpResult(host="", error=f"not called: the URL {problem}", blocked=True)

        target = parse_url(url)
        exchange = _Exchange(target, deadline=deadline, max_body=max_body, admit=admit)
        if not self._slots.acquire(timeout=self._timeout):
            full = f"{target.host} was not called: hanging lookups take up all threads"
            return HttpResult(host=target.host, error=full, local_fault=True)

        def run() -> None:
            try:
                exchange.run(lambda: self._addresses(target), self._trust, method, headers, body)
            finally:
                self._slots.release()

        try:
            self._threads.run(run)
        except RuntimeError:
            self._slots.release()
            full = f"{target.host} was not called: this machine is out of threads"
            return HttpResult(host=target.host, error=full, local_fault=True, exhausted=True)

        if (result := exchange.wait(stop)) is not None:
            return result
        phase = exchange.timeout_text
        error = f"{target.host} {phase} within {self._timeout:g} s"
        return HttpResult(host=target.host, error=error, timed_out=True, local_fault=phase == _LOOKUP)

    def _addresses(self, target: WebhookUrl) -> list[Checked]:
        return resolve(target.host, target.port, self._allow, self._resolver)


class _Exchange:
    """One request and its reply. One thread runs it, another waits for it and may cancel it."""

    def __init__(
        self, target: WebhookUrl, *, deadline: float, max_body: int, admit: Callable[[int | None], bool]
    ) -> None:
        self.timeout_text = _LOOKUP
        self._host = target.host
        self._target = target
        self._deadline = deadline
        self._max_body = max_body
        self._admit = admit
        self._admitting = False  # the deadline is suspended meanwhile
        self._socket = CancellableSocket(deadline)
        self._ended = threading.Event()
        self._head: HttpResult | None = None
        self._body = bytearray()
        self._complete = False
        self._failure: HttpResult | None = None

    def wait(self, stop: Callable[[], object]) -> HttpResult | None:
        """
        Wait until the deadline; None if there is neither a status nor an error by then.

        A status counts even if its body breaks off or never ends: the receiver has already decided.
        """
        late = False
        while not late and not self._ended.wait(min(max(self._left(), 0.001), _STOP_INTERVAL)) and not stop():
            late = self._left() <= 0 and not self._admitting
        complete = self._ended.is_set() and self._complete
        result = self._failure
        if self._head is not None:
            # An incomplete body is copied: the reader's thread may append to it until it notices the shutdown.
            body = self._body if complete else bytes(self._body)
            result = replace(self._head, body=body, complete=complete, timed_out=late)
        self._socket.cut()

        return result

    def run(
        self,
        resolve_host: Callable[[], Sequence[Checked]],
        trust: ssl.SSLContext,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> None:
        """Run the request in its own thread. Never raises: `wait` returns the outcome."""
        try:
            addresses = resolve_host()
            self.timeout_text = "could not be connected to"
            secure = self._target.url.startswith("https:")
            connection = PinnedConnection(self._target, lambda: self._open(addresses), trust if secure else None)
            with closing(connection):
                self._exchange(connection.start(method, headers, body))
        except Blocked as exc:
            self._failure = HttpResult(host=self._host, error=str(exc), blocked=True)
        except Exception as exc:
            error = describe(self._host, exc, method)
            self._failure = HttpResult(
                host=self._host, error=error, local_fault=is_local_fault(exc), exhausted=is_exhausted(exc)
            )
        finally:
            self._socket.close()
            self._ended.set()

    def _open(self, addresses: Sequence[Checked]) -> socket.socket:
        sock = self._socket.open(addresses)
        self.timeout_text = "gave no answer"
        return sock

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _admitted(self, length: int | None) -> bool:
        self._admitting, began = True, time.monotonic()
        try:
            return self._admit(length)
        finally:
            self._deadline += time.monotonic() - began
            self._admitting = False

    def _exchange(self, response: http.client.HTTPResponse) -> None:
        if response.status < 200:
            error = f"{self._host} answered {response.status} and sent no final response"
            self._failure = HttpResult(host=self._host, error=error)
            return
        headers: dict[str, str] = {}
        for given, value in response.getheaders():
            name = given.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._head = HttpResult(host=self._host, status=response.status, headers=headers)
        if 300 <= response.status < 400:
            return
        if response.status < 300 and not self._admitted(content_length(headers)):
            return
        limit = self._max_body if response.status < 300 else min(self._max_body, MAX_REPLY)
        # In pieces as they arrive, so that they survive a break.
        while len(self._body) < limit:
            piece = response.read1(limit - len(self._body))
            if not piece:
                self._complete = not response.length  # None: up to the end of the connection
                return
            self._body += piece


def content_length(headers: Mapping[str, str]) -> int | None:
    """The declared length of the body, or None if it is missing or invalid."""
    value = headers.get("content-length", "")

    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
