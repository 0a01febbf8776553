"""One connection of `requests` that goes to checked addresses only, and that another thread can cut."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from .ssrf_guard import Checked

#: A name can have hundreds of addresses. All are checked, these many are tried.
_TRIED = 4

#: Seconds that a socket waits beyond the deadline, so that it is the deadline that ends the call, and says so.
_SLACK = 1.0

#: Bytes of an answer's head, and of all that is said before it. The library's own limit is a hundred lines of 64 kB:
#: with that each receiver could take 50 MB of memory.
MAX_HEAD = 65_536
#: Bytes of the lines in and behind a body that comes in chunks. The library has no limit for them.
_BETWEEN = 2**20

# At warning and below they write URLs, and the path of a webhook is its secret.
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class CancellableSocket:
    """
    The connection of one POST.

    The receiver can hold every read and write up for ever by a byte now and then, so there is a deadline for the
    whole: whoever watches it calls `cut`, and the thread that reads or writes wakes with an error.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._lock = threading.Lock()
        self._cut = False
        self._twin: socket.socket | None = None

    def open(self, addresses: Sequence[Checked]) -> socket.socket:
        """Connect to the first that answers. The time that is left is shared among those not yet tried."""
        tried = _by_turns(addresses)[:_TRIED]
        error: OSError | None = None
        for left, (family, sockaddr) in zip(range(len(tried), 0, -1), tried, strict=True):
            try:
                return self._connect(family, sockaddr, share=left)
            except OSError as exc:
                error = exc

        raise error or OSError("no address to connect to")

    def patience(self) -> float:
        """How long one read or write may take."""
        return self._left() + _SLACK

    def cut(self) -> None:
        """End whatever is going on; nothing more goes out."""
        with self._lock:
            self._cut = True
            if self._twin is not None:
                self._hang_up(self._twin)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._cut = True
            if self._twin is not None:
                self._hang_up(self._twin)
                self._twin.close()
                self._twin = None

    def _connect(self, family: int, sockaddr: tuple[Any, ...], *, share: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._hold(sock)
            sock.settimeout(self.patience() if share == 1 else self._left() / share)
            sock.connect(sockaddr)
            with self._lock:
                if self._cut:  # before there was anything to hang up on
                    raise TimeoutError("the deadline has passed")
            if sock.getpeername()[:2] != sockaddr[:2]:
                raise OSError("connected to another address than the one that was checked")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.patience())
        except BaseException:
            sock.close()
            raise

        return sock

    def _hold(self, sock: socket.socket) -> None:
        # A descriptor of our own: TLS takes the first one over, and a number that was closed may be another file's.
        with self._lock:
            if self._cut:
                raise TimeoutError("the deadline has passed")
            if self._twin is not None:
                self._twin.close()
            self._twin = sock.dup()

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)

    @staticmethod
    def _hang_up(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was not connected, or is no more
            sock.shutdown(socket.SHUT_RDWR)


class PinnedAdapter(HTTPAdapter):
    """
    Sends one request over the socket that `opener` brings, whatever the URL's host would resolve to by now.

    The certificate is still checked against the URL's host, which is also what SNI and the Host header name.
    Use it without a `Session`: that one follows, reads and unpacks redirects, and looks into proxies and .netrc.
    """

    def __init__(self, opener: Callable[[], socket.socket], trust: ssl.SSLContext) -> None:
        super().__init__()
        self._opener = opener
        self._trust = trust

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        whom, _ = self.build_connection_pool_key_attributes(request, True)
        if whom["scheme"] == "https":
            return _HTTPSPool(whom["host"], whom["port"], opener=self._opener, ssl_context=self._trust)

        return _HTTPPool(whom["host"], whom["port"], opener=self._opener)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to set: `trust` has it all, and loading a bundle for every connection takes longer than the POST."""


def _by_turns(addresses: Sequence[Checked]) -> list[Checked]:
    """The families by turns, each in its order: where one of them leads nowhere, the other is not far behind."""
    ranks: dict[int, int] = {}
    keyed = []
    for place, one in enumerate(addresses):
        ranks[one[0]] = rank = ranks.get(one[0], -1) + 1
        keyed.append((rank, place))

    return [addresses[place] for _, place in sorted(keyed)]


class _Lines:
    """The lines of an answer: together no more than so many bytes. What is no line is read past this."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._file: Any = None

    @contextlib.contextmanager
    def count(self, answer: http.client.HTTPResponse) -> Iterator[None]:
        """Stand in for the answer's file."""
        self._file = answer.fp
        answer.fp = self  # type: ignore[assignment]
        try:
            yield
        finally:
            if answer.fp is not None:  # it was not closed
                answer.fp = self._file

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("line")
        return line

    def close(self) -> None:
        self._file.close()


class _Answer(http.client.HTTPResponse):
    """An answer whose lines are bounded. 102 and 103 may come before it, as 100 may: they are not yet the answer."""

    def begin(self) -> None:
        self._between = _Lines(_BETWEEN)
        with _Lines(MAX_HEAD).count(self):
            super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in (http.client.PROCESSING, http.client.EARLY_HINTS):
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_next_chunk_size(self) -> int:
        with self._between.count(self):
            return super()._read_next_chunk_size()  # type: ignore[misc]

    def _read_and_discard_trailer(self) -> None:
        with self._between.count(self):
            super()._read_and_discard_trailer()  # type: ignore[misc]


class _Opened:
    """A connection whose socket is brought by others; in front of urllib3's own in the order of bases."""

    def __init__(self, *args: Any, opener: Callable[[], socket.socket], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opener = opener

    def _new_conn(self) -> socket.socket:
        return self._opener()


class _HTTP(_Opened, HTTPConnection):
    response_class = _Answer


class _HTTPS(_Opened, HTTPSConnection):
    response_class = _Answer


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPS
