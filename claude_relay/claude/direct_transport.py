"""Transport of the SDK's HTTP client over `http.client`: one new connection for each request, without a proxy."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import httpx2

from ..bounded_response import BoundedResponse

#: Bytes of a body that are read at once.
_PIECE = 16_384
#: Bytes of a TLS connection that are read before they are asked for: lines of the head and of chunks.
_READ_AHEAD = 2048

#: As the SDK sets them: a connection that is silent for minutes must be seen to be alive.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))


class Progress(Protocol):
    """The steps of a request, reported in its thread."""

    def connected(self, sock: socket.socket) -> None:
        """Note the socket, which may be shut down from now on."""

    def before_first_byte(self) -> None:
        """Report that the request is about to be sent; an error prevents that."""

    def request_ended(self, *, complete: bool) -> None:
        """Note that the request was sent, or broke off."""

    def response_began(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Note the head of the response."""


def has_proxy() -> bool:
    """Whether the environment names a proxy, which this transport does not use."""
    return any(urllib.request.getproxies().get(scheme) for scheme in ("http", "https", "all"))


class DirectTransport(httpx2.BaseTransport):
    """
    HTTP/1.1 over `http.client`, in place of httpcore2.

    Its parser (h11) took most of the CPU of a streamed event, and its pool walks all connections at the begin and end
    of each call.

    `request.extensions["progress"]`: a `Progress`, which also bounds the time of the response by shutting its socket
    down; without one, the client's read timeout does.
    """

    def __init__(self) -> None:
        self._trust = httpx2.create_ssl_context()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and read the head of its response."""
        progress: Progress | None = request.extensions.get("progress")
        timeout = request.extensions.get("timeout", {})
        sock = self._connect(request.url, timeout.get("connect"), progress)
        try:
            sock.settimeout(timeout.get("write"))
            _send(sock, request, progress)
            # A watched request blocks: with a timeout each read is two system calls, and one more switch of threads.
            sock.settimeout(timeout.get("read") if progress is None else None)
            source: Any = _SilentTls(sock) if isinstance(sock, ssl.SSLSocket) else sock
            response = _Response(source, method=request.method)
            with _readable_faults():
                response.begin()
        except BaseException:
            sock.close()
            raise
        headers = response.getheaders()
        if progress is not None:
            progress.response_began(response.status, headers)

        body = _Body(response, sock)

        return httpx2.Response(response.status, headers=headers, stream=body, extensions={"pieces": body})

    def _connect(self, url: httpx2.URL, timeout: float | None, progress: Progress | None) -> socket.socket:
        secure, host = url.scheme == "https", url.raw_host.decode("ascii")
        sock = socket.create_connection((host, url.port or (443 if secure else 80)), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                if (option := getattr(socket, name, None)) is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
            if secure:  # reported before the handshake, which can be cut short then
                sock = self._trust.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            if progress is not None:
                progress.connected(sock)
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
        except BaseException:
            sock.close()
            raise

        return sock


class _SilentTls(io.RawIOBase):
    """
    Bytes of a TLS connection that keeps no buffer while it is silent.

    A read that waits within TLS holds a buffer of 16 KiB, though Claude may think for minutes: this one waits before.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock, self._raw = sock, sock.makefile("rb", buffering=0)
        self._arrived = select.poll()
        self._arrived.register(sock, select.POLLIN)

    def makefile(self, mode: str) -> io.BufferedReader:
        """The file of a response, in place of the socket's own with 8 KiB."""
        return io.BufferedReader(self, _READ_AHEAD)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived; wait for the first of it unless the socket has a timeout."""
        if self._sock.gettimeout() is None and not self._sock.pending():
            self._arrived.poll()

        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the socket's file; the socket itself stays open."""
        self._raw.close()
        super().close()


class _Response(BoundedResponse):
    """A long stream has a chunk for each event: each line is bounded, and their number by the call's deadlines."""

    _read_next_chunk_size = http.client.HTTPResponse._read_next_chunk_size  # type: ignore[attr-defined]


class _Body(httpx2.SyncByteStream):
    """The bytes of a response as they arrive."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._response, self._sock = response, sock
        self._left = response.length  # None: until the end of the last chunk, or of the connection

    def __iter__(self) -> Iterator[bytes]:
        with _readable_faults():
            while self._left is None or self._left > 0:
                piece = self._response.read1(_PIECE if self._left is None else min(_PIECE, self._left))
                if not piece:
                    break
                if self._left is not None:
                    self._left -= len(piece)
                yield piece
            if self._left:
                raise http.client.IncompleteRead(b"", self._left)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._sock.close()


class _Head:
    """Takes the head of a request in the place of a socket."""

    data = b""

    def sendall(self, data: bytes) -> None:
        self.data += data


def _send(sock: socket.socket, request: httpx2.Request, progress: Progress | None) -> None:
    writer = http.client.HTTPConnection("")
    writer.sock = head = _Head()
    writer.putrequest(request.method, request.url.raw_path.decode("ascii"), skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.raw:
        writer.putheader(name, value)
    writer.endheaders()
    if progress is not None:
        progress.before_first_byte()
    complete = False
    try:
        chunked = "transfer-encoding" in request.headers
        assert isinstance(request.stream, httpx2.SyncByteStream)
        unsent = head.data  # goes out with a short body: one system call, one record of TLS, and one packet
        for piece in request.stream:
            if len(unsent) + len(piece) > _PIECE:
                sock.sendall(unsent)
                unsent = b""
            unsent += b"%X\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece
        sock.sendall(unsent + b"0\r\n\r\n" if chunked else unsent)
        complete = True
    except TimeoutError:
        raise
    except OSError:
        pass  # a server that refuses a request may answer and close before it has read all of it
    finally:
        if progress is not None:
            progress.request_ended(complete=complete)


@contextlib.contextmanager
def _readable_faults() -> Iterator[None]:
    """Faults of the protocol in words for people."""
    try:
        yield
    except (http.client.RemoteDisconnected, http.client.IncompleteRead) as exc:
        ended = "without an answer" if isinstance(exc, http.client.RemoteDisconnected) else "before its answer ended"
        raise httpx2.RemoteProtocolError(f"the server closed the connection {ended}") from None
    except (http.client.HTTPException, ValueError) as exc:
        raise httpx2.RemoteProtocolError(f"the answer is not valid HTTP ({type(exc).__name__})") from None
