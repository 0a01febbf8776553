"""One request to an address that a stranger named: guarded, and bounded in time, memory and threads."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import requests

from .allowlist import PrivateAllowlist
from .error_text import describe, is_exhausted, is_local_fault
from .pinned_connection import CancellableSocket, PinnedAdapter
from .ssrf_guard import Blocked, Checked, Resolver, literal_problem, resolve
from .url import WebhookUrl, parse_url

#: How much of an answer is read where nobody needs it. More than is kept of it, so that it usually ends in good order.
MAX_REPLY = 65_536

#: What a request had not got beyond when its time was up: our resolver's fault, or that of the name's servers.
_LOOKING_UP = "could not be looked up"

#: How often a caller that may be stopped is asked, in seconds.
_LOOK = 0.2


@dataclass(frozen=True, kw_only=True)
class HttpResult:
    """
    What came back: a status with its headers and body, or an error in words and no status.

    `whole`: the body was seen to its end; otherwise it broke off, ran out of time, or went beyond what was to be read.
    """

    host: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # by lower-case name
    body: bytes | bytearray = field(default=b"", repr=False)
    complete: bool = False
    error: str | None = None
    blocked: bool = False
    timed_out: bool = False  # the time was up
    local_fault: bool = False  # the fault is on this side, or may be: it says nothing of the other
    exhausted: bool = False  # this machine lacked what it takes: a thread, a file handle, memory


def tls_context() -> ssl.SSLContext:
    """The authorities of `certifi`, and those that this machine's administrator trusts besides."""
    context = ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
    context.load_default_certs()

    return context


class GuardedHttpClient:
    """
    The way out for all that goes to addresses of strangers: one guard, one way to connect.

    Each request has a thread and a connection of its own. The caller's thread waits for it until the time is up, then
    cuts the connection and comes back. Only the lookup of a name cannot be cut: one that hangs keeps its thread
    until the system gives it up, and so threads are counted.
    """

    def __init__(
        self, *, allow: PrivateAllowlist, timeout: float, limit: int, trust: ssl.SSLContext, resolver: Resolver
    ) -> None:
        self._allow = allow
        self._timeout = timeout
        self._room = threading.BoundedSemaphore(limit)
        self._trust = trust
        self._resolver = resolver

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        most: int = MAX_REPLY,
        admit: Callable[[int | None], bool] = lambda length: True,
        stop: Callable[[], object] = lambda: None,
    ) -> HttpResult:
        """
        Make the request. Never raises.

        No redirect is followed. Up to `most` bytes of a 2xx answer's body are read, less of any other. Before that,
        `admit` is asked with the length that it says it has: it may take its time, which does not count, or say no.
        `stop` is asked while it goes on: anything true ends it.
        """
        deadline = time.monotonic() + self._timeout
        if problem := literal_problem(url, self._allow):
            return HttpResult(host="", error=f"not called: the URL {problem}", blocked=True)

        target = parse_url(url)
        exchange = _Exchange(target, deadline=deadline, most=most, admit=admit)
        if not self._room.acquire(timeout=self._timeout):
            full = f"{target.host} was not called: lookups that hang take up all the room"
            return HttpResult(host=target.host, error=full, local_fault=True)

        def run() -> None:
            try:
                exchange.run(lambda: self._addresses(target), self._trust, method, headers, body)
            finally:
                self._room.release()

        try:
            threading.Thread(target=run, name=f"line-{method.lower()}", daemon=True).start()
        except RuntimeError:
            self._room.release()
            full = f"{target.host} was not called: the machine has no thread to spare"
            return HttpResult(host=target.host, error=full, local_fault=True, exhausted=True)

        if (heard := exchange.wait(stop)) is not None:
            return heard
        overdue, error = exchange.overdue, f"{target.host} {exchange.overdue} within {self._timeout:g} s"
        return HttpResult(host=target.host, error=error, timed_out=True, local_fault=overdue == _LOOKING_UP)

    def _addresses(self, target: WebhookUrl) -> list[Checked]:
        return resolve(target.host, target.port, self._allow, self._resolver)


class _Exchange:
    """What goes to and fro in one request. One thread runs it, another waits and may cut it off."""

    def __init__(self, target: WebhookUrl, *, deadline: float, most: int, admit: Callable[[int | None], bool]) -> None:
        self.overdue = _LOOKING_UP
        self._host = target.host
        self._url = target.url
        self._deadline = deadline
        self._most = most
        self._admit = admit
        self._halted = False  # while it is asked
        self._wire = CancellableSocket(deadline)
        self._ended = threading.Event()
        self._head: HttpResult | None = None
        self._body = bytearray()
        self._whole = False
        self._failure: HttpResult | None = None

    def wait(self, stop: Callable[[], object]) -> HttpResult | None:
        """
        What came of it by the deadline; None for nothing.

        A status counts even if its body breaks off or never ends: the other side has said what it did.
        """
        late = False
        while not late and not self._ended.wait(min(max(self._left(), 0.001), _LOOK)) and not stop():
            late = self._left() <= 0 and not self._halted
        whole = self._ended.is_set() and self._whole
        known = self._failure
        if self._head is not None:
            # What is still being read is copied: the reader's thread may be at it until it sees the cut.
            known = replace(self._head, body=self._body if whole else bytes(self._body), complete=whole, timed_out=late)
        self._wire.cut()

        return known

    def run(
        self,
        lookup: Callable[[], Sequence[Checked]],
        trust: ssl.SSLContext,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> None:
        """See it through. Nothing is raised in this thread: `wait` tells."""
        try:
            addresses = lookup()
            self.overdue = "could not be connected to"
            request = requests.Request(method, self._url, headers=dict(headers), data=body).prepare()
            self._exchange(PinnedAdapter(lambda: self._open(addresses), trust), request)
        except Blocked as exc:
            self._failure = HttpResult(host=self._host, error=str(exc), blocked=True)
        except Exception as exc:
            error = describe(self._host, exc, method)
            self._failure = HttpResult(
                host=self._host, error=error, local_fault=is_local_fault(exc), exhausted=is_exhausted(exc)
            )
        finally:
            self._wire.close()
            self._ended.set()

    def _open(self, addresses: Sequence[Checked]) -> socket.socket:
        sock = self._wire.open(addresses)
        self.overdue = "gave no answer"
        return sock

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _admitted(self, length: int | None) -> bool:
        self._halted, began = True, time.monotonic()
        try:
            return self._admit(length)
        finally:
            self._deadline += time.monotonic() - began
            self._halted = False

    def _exchange(self, adapter: PinnedAdapter, request: requests.PreparedRequest) -> None:
        patience = self._wire.patience()
        with closing(adapter), closing(adapter.send(request, stream=True, timeout=patience)) as response:
            if response.status_code < 200:
                error = f"{self._host} answered {response.status_code} and nothing final"
                self._failure = HttpResult(host=self._host, error=error)
                return
            headers = {name.lower(): value for name, value in response.headers.items()}
            self._head = HttpResult(host=self._host, status=response.status_code, headers=headers)
            if 300 <= response.status_code < 400:
                return
            if response.status_code < 300 and not self._admitted(content_length(headers)):
                return
            most = self._most if response.status_code < 300 else min(self._most, MAX_REPLY)
            # Raw, so that nothing is unpacked; by whatever has arrived, so that what came before a break is kept.
            while len(self._body) < most:
                piece = response.raw.read1(most - len(self._body), decode_content=False)
                if not piece:
                    self._whole = True
                    return
                self._body += piece


def content_length(headers: Mapping[str, str]) -> int | None:
    """How long the body is said to be; None where that is not said, or not believable."""
    told = headers.get("content-length", "")

    return int(told) if told.isascii() and told.isdigit() and len(told) < 20 else None
