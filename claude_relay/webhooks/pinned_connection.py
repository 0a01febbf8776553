"""HTTP connection that goes only to checked IP addresses and that another thread can cancel."""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from ..bounded_response import BoundedResponse
from .error_text import UnsendableHeader
from .ssrf_guard import Checked
from .url import WebhookUrl

#: Addresses to connect to in turn. A name can have hundreds; all of them are checked.
_MAX_CONNECTS = 4

#: Seconds that a socket waits beyond the deadline, so that the deadline ends the call and names the phase.
_SLACK = 1.0

_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HEADER_NAME = re.compile(r"[^:\s][^:\r\n]*")
_HEADER_VALUE = re.compile(r"(\S[^\r\n]*)?")


class CancellableSocket:
    """
    The connection of one request.

    A receiver can prolong each read and write for ever with a byte now and then, so one deadline covers all of it: the
    watching thread calls `cut`, and the thread that reads or writes wakes with an error.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._lock = threading.Lock()
        self._cut = False
        self._duplicate: socket.socket | None = None

    def open(self, addresses: Sequence[Checked]) -> socket.socket:
        """Connect to the first address that answers; the remaining time is divided among the remaining addresses."""
        candidates = _interleave_families(addresses)[:_MAX_CONNECTS]
        error: OSError | None = None
        for left, (family, sockaddr) in zip(range(len(candidates), 0, -1), candidates, strict=True):
            try:
                return self._connect(family, sockaddr, share=left)
            except OSError as exc:
                error = exc

        raise error or OSError("no address to connect to")

    def io_timeout(self) -> float:
        """Timeout of a single read or write, in seconds."""
        return self._left() + _SLACK

    def cut(self) -> None:
        """Shut the connection down, so that a blocked read or write fails and nothing more is sent."""
        with self._lock:
            self._cut = True
            if self._duplicate is not None:
                self._shutdown(self._duplicate)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._cut = True
            if self._duplicate is not None:
                self._shutdown(self._duplicate)
                self._duplicate.close()
                self._duplicate = None

    def _connect(self, family: int, sockaddr: tuple[Any, ...], *, share: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._register(sock)
            sock.settimeout(self.io_timeout() if share == 1 else self._left() / share)
            sock.connect(sockaddr)
            with self._lock:
                if self._cut:  # cancelled before the connection existed
                    raise TimeoutError("the deadline has passed")
            if sock.getpeername()[:2] != sockaddr[:2]:
                raise OSError("connected to a different IP address than the checked one")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.io_timeout())
        except BaseException:
            sock.close()
            raise

        return sock

    def _register(self, sock: socket.socket) -> None:
        # A duplicate descriptor: TLS takes over the first, and a closed number may already belong to another file.
        with self._lock:
            if self._cut:
                raise TimeoutError("the deadline has passed")
            if self._duplicate is not None:
                self._duplicate.close()
            self._duplicate = sock.dup()

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)

    @staticmethod
    def _shutdown(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # not connected, or no longer
            sock.shutdown(socket.SHUT_RDWR)


class PinnedConnection(http.client.HTTPConnection):
    """
    Sends one request over the socket from `opener`, whatever the URL's host would resolve to by now.

    With `trust` it speaks TLS, and the certificate is checked against the URL's host, which SNI and the Host header
    name, too. Redirects are not followed, nothing is decompressed, and no proxy setting or .netrc is read.
    """

    response_class = BoundedResponse

    def __init__(self, target: WebhookUrl, opener: Callable[[], socket.socket], trust: ssl.SSLContext | None) -> None:
        super().__init__(f"[{target.host}]" if ":" in target.host else target.host, target.port)
        self.default_port = 443 if trust else 80  # the Host header names any other
        self._target, self._opener, self._trust = target, opener, trust

    def connect(self) -> None:
        """Open the connection."""
        self.sock = self._opener()
        if self._trust is not None:
            self.sock = self._trust.wrap_socket(self.sock, server_hostname=self._target.host)

    def start(self, method: str, headers: Mapping[str, str], body: bytes | None) -> http.client.HTTPResponse:
        """Send the request; returns the head of the response. Raises `UnsendableHeader`."""
        for name, value in headers.items():
            if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
                raise UnsendableHeader(name)
        length = {} if body is None else {"Content-Length": str(len(body))}
        self.request(method, request_target(self._target.url), body, {**headers, **length})

        return self.getresponse()


@functools.lru_cache(maxsize=1_024)
def request_target(url: str) -> str:
    """The path and query of a parsed URL, with characters that a request cannot carry percent-encoded."""
    parts = urlsplit(url)
    path = _without_dots(parts.path) or "/"

    target = _BARE_PERCENT.sub("%25", f"{path}?{parts.query}" if parts.query else path)

    return quote(target, safe="!$%&'()*+,/:;=?@~")


def _without_dots(path: str) -> str:
    """The path that `.` and `..` lead to (RFC 3986, section 5.2.4), as other clients send it."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")

    return "".join(f"/{segment}" for segment in kept)


def _interleave_families(addresses: Sequence[Checked]) -> list[Checked]:
    """Alternate the address families, each in its order, so that one broken family does not use all connects."""
    ranks: dict[int, int] = {}
    keyed = []
    for index, (family, _) in enumerate(addresses):
        ranks[family] = rank = ranks.get(family, -1) + 1
        keyed.append((rank, index))

    return [addresses[index] for _, index in sorted(keyed)]
