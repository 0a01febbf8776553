"""Connection for `requests` that goes only to checked IP addresses and that another thread can cancel."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from ..bounded_response import BoundedResponse
from .ssrf_guard import Checked

#: Addresses to connect to in turn. A name can have hundreds; all of them are checked.
_MAX_CONNECTS = 4

#: Seconds that a socket waits beyond the deadline, so that the deadline ends the call and names the phase.
_SLACK = 1.0

# At WARNING and below they log URLs, and the path of a webhook is its secret.
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.ERROR)


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


class PinnedAdapter(HTTPAdapter):
    """
    Sends one request over the socket from `opener`, whatever the URL's host would resolve to by now.

    The certificate is still checked against the URL's host, which SNI and the Host header name, too. Use it without a
    `Session`, which follows, reads and decompresses redirects, and reads proxy settings and .netrc.
    """

    def __init__(self, opener: Callable[[], socket.socket], trust: ssl.SSLContext) -> None:
        super().__init__()
        self._opener = opener
        self._trust = trust

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        host_params, _ = self.build_connection_pool_key_attributes(request, True)
        if host_params["scheme"] == "https":
            return _HTTPSPool(host_params["host"], host_params["port"], opener=self._opener, ssl_context=self._trust)

        return _HTTPPool(host_params["host"], host_params["port"], opener=self._opener)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: `trust` is complete, and loading a CA bundle per connection takes longer than the POST."""


def _interleave_families(addresses: Sequence[Checked]) -> list[Checked]:
    """Alternate the address families, each in its order, so that one broken family does not use all connects."""
    ranks: dict[int, int] = {}
    keyed = []
    for index, (family, _) in enumerate(addresses):
        ranks[family] = rank = ranks.get(family, -1) + 1
        keyed.append((rank, index))

    return [addresses[index] for _, index in sorted(keyed)]


class _PinnedMixin:
    """Mixin that takes the socket from `opener`; placed before urllib3's own class in the bases."""

    def __init__(self, *args: Any, opener: Callable[[], socket.socket], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opener = opener

    def _new_conn(self) -> socket.socket:
        return self._opener()


class _HTTP(_PinnedMixin, HTTPConnection):
    response_class = BoundedResponse


class _HTTPS(_PinnedMixin, HTTPSConnection):
    response_class = BoundedResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPS
