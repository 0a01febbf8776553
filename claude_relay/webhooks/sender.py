"""One POST to a webhook: bounded in time, memory and threads, whatever the receiver does."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import requests

from .. import __version__
from ..core.delivery import Reply
from .allow import Allow
from .guard import Blocked, Checked, Resolver, literal_problem, resolve
from .pinned import PinnedAdapter, Wire
from .target import Target, read_target
from .words import excerpt, in_words, retry_after

#: How much of an answer is read. More than is kept, so that a usual answer is taken whole and ends in good order.
READ = 65_536

#: The connection's own headers, and ours: a caller's `webhookHeaders` do not set them.
RESERVED = frozenset(
    (
        *("content-type", "content-length", "content-encoding", "accept-encoding", "user-agent", "host"),
        *("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "http2-settings", "expect"),
        *("proxy-connection", "proxy-authorization", "proxy-authenticate"),
    )
)


def trusted() -> ssl.SSLContext:
    """The authorities of `certifi`, and those that this machine's administrator trusts besides."""
    context = ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
    context.load_default_certs()

    return context


class Http:
    """
    Sends over HTTP: `ports.Sender`.

    Each POST has a thread and a connection of its own. The caller's thread waits for it until the time is up, then
    cuts the connection and comes back. Only the lookup of a name cannot be cut: one that hangs keeps its thread
    until the system gives it up, and so threads are counted.
    """

    def __init__(
        self,
        *,
        allow: Allow | None = None,
        timeout: float = 30.0,
        limit: int = 64,
        trust: ssl.SSLContext | None = None,
        resolver: Resolver = socket.getaddrinfo,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._allow = allow or Allow()
        self._timeout = timeout
        self._room = threading.BoundedSemaphore(limit)
        self._trust = trust or trusted()
        self._resolver = resolver
        self._clock = clock

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Never raises. Where two of `headers` differ in case alone, the later one counts."""
        started = time.monotonic()
        reply = self._post(url, body, headers, deadline=started + self._timeout)

        return replace(reply, ms=round((time.monotonic() - started) * 1000))

    def _post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: float) -> Reply:
        if problem := literal_problem(url, self._allow):
            return Reply(error=f"not called: the webhook's URL {problem}", blocked=True)

        exchange = _Exchange(read_target(url), deadline=deadline, clock=self._clock)
        if not self._room.acquire(timeout=self._timeout):
            return Reply(error=f"{exchange.host} was not called: lookups that hang take up all the room")

        def run() -> None:
            try:
                exchange.run(lambda: self._addresses(exchange), self._trust, headers, body)
            finally:
                self._room.release()

        try:
            threading.Thread(target=run, name="webhook-post", daemon=True).start()
        except RuntimeError:
            self._room.release()
            return Reply(error=f"{exchange.host} was not called: the machine has no thread to spare")

        return exchange.wait() or Reply(error=f"{exchange.host} {exchange.overdue} within {self._timeout:g} s")

    def _addresses(self, exchange: _Exchange) -> list[Checked]:
        return resolve(exchange.host, exchange.port, self._allow, self._resolver)


class _Exchange:
    """What goes to and fro in one POST. One thread runs it, another waits and may cut it off."""

    def __init__(self, target: Target, *, deadline: float, clock: Callable[[], float]) -> None:
        self.host = target.host
        self.port = target.port
        self.overdue = "could not be looked up"
        self._url = target.url
        self._deadline = deadline
        self._clock = clock
        self._wire = Wire(deadline)
        self._ended = threading.Event()
        self._head: Reply | None = None
        self._encoding: str | None = None
        self._body = bytearray()
        self._failure: Reply | None = None

    def wait(self) -> Reply | None:
        """
        What came of it by the deadline; None for nothing.

        A status counts even if its body breaks off or never ends: the receiver has said what it did.
        """
        self._ended.wait(self._deadline - time.monotonic())
        known = self._failure
        if self._head is not None:
            known = replace(self._head, excerpt=excerpt(bytes(self._body), self._encoding))
        self._wire.cut()

        return known

    def run(
        self,
        lookup: Callable[[], Sequence[Checked]],
        trust: ssl.SSLContext,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """See it through. Nothing is raised in this thread: `wait` tells."""
        try:
            addresses = lookup()
            self.overdue = "could not be connected to"
            self._exchange(PinnedAdapter(lambda: self._open(addresses), trust), headers, body)
        except Blocked as exc:
            self._failure = Reply(error=str(exc), blocked=True)
        except Exception as exc:
            self._failure = Reply(error=in_words(self.host, exc))
        finally:
            self._wire.close()
            self._ended.set()

    def _open(self, addresses: Sequence[Checked]) -> socket.socket:
        sock = self._wire.open(addresses)
        self.overdue = "gave no answer"
        return sock

    def _exchange(self, adapter: PinnedAdapter, headers: Mapping[str, str], body: bytes) -> None:
        request = requests.Request("POST", self._url, headers=_headers(headers), data=body).prepare()
        patience = self._wire.patience()
        with closing(adapter), closing(adapter.send(request, stream=True, timeout=patience)) as response:
            if response.status_code < 200:
                self._failure = Reply(error=f"{self.host} answered {response.status_code} and nothing final")
                return
            self._encoding = response.headers.get("Content-Encoding")
            self._head = Reply(
                status=response.status_code,
                retry_after=retry_after(response.headers.get("Retry-After"), now=self._clock()),
            )
            if 300 <= response.status_code < 400:
                return
            # Raw, so that nothing is unpacked; by whatever has arrived, so that what came before a break is kept.
            while len(self._body) < READ:
                piece = response.raw.read1(READ - len(self._body), decode_content=False)
                if not piece:
                    return
                self._body += piece


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: value for name, value in given.items() if name.strip().lower() not in RESERVED},
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"claude-relay/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
