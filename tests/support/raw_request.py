"""Reading a request from a socket, for servers that answer with bytes of a test's own."""

from __future__ import annotations

import socket
from http.client import parse_headers


def read_request(connection: socket.socket) -> None:
    """Read one complete request, however it arrives: a close with unread bytes would reset the connection."""
    with connection.makefile("rb") as stream:
        stream.readline()
        headers = parse_headers(stream)
        if headers["Transfer-Encoding"] == "chunked":
            while stream.readline().strip() not in (b"0", b""):
                stream.readline()
            stream.readline()
        else:
            stream.read(int(headers["Content-Length"] or 0))
