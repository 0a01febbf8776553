"""The API's server in a thread, and requests to it byte by byte."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

from waitress import wasyncore

from claude_relay.api.serve import listen
from claude_relay.config import Settings

Address = tuple[str, int]


@contextlib.contextmanager
def serving(app: Any, settings: Settings, **options: Any) -> Iterator[Address]:
    """Serve `app` on a free port; returns its address."""
    server = listen(app, settings, **options)

    def serve() -> None:
        while server._map:
            server.event_loop.round(1.0)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", getattr(server, "effective_port", 0)
    finally:
        # In the loop itself, which would otherwise notice a second later.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map, ignore_all=True))
        thread.join(60)
        server.task_dispatcher.shutdown(timeout=1)


def connect(address: Address, source: str = "127.0.0.1", timeout: float = 60) -> socket.socket:
    """A connection from that address of the loopback network."""
    return socket.create_connection(address, timeout=timeout, source_address=(source, 0))


def read_answer(client: socket.socket, received: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """Read one response: its status, its headers, and its JSON body."""
    while b"\r\n\r\n" not in received:
        part = client.recv(65536)
        assert part, f"closed after {received!r}"
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        part = client.recv(65536)
        assert part, f"closed after {received!r}"
        body += part

    return int(lines[0].split()[1]), headers, json.loads(body[:length]) if length else None


def exchange(address: Address, request: bytes) -> list[tuple[int, bytes]]:
    """Send bytes, read until the server closes; returns status and body of each response."""
    with connect(address) as client:
        client.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65536):
                answer += part
    parts = re.split(rb"(?=HTTP/1\.[01] \d{3} )", answer)

    return [(int(part.split()[1]), part.partition(b"\r\n\r\n")[2]) for part in parts if part]
