"""A proxy in front of PostgreSQL that can hang: it stops reading and writing, and keeps its connections open."""

from __future__ import annotations

import contextlib
import socket
import threading


class SilentWire:
    """Forwards to `port` on loopback. After `cut` every byte is lost, also of connections that are opened later."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._silent = threading.Event()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, name="silent-wire", daemon=True).start()

    def __enter__(self) -> SilentWire:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._ends):
            end.close()

    def url(self, url: str) -> str:
        """The address of a database, through this proxy."""
        return url.replace(f":{self._to}/", f":{self.port}/")

    def cut(self) -> None:
        """Fall silent from now on."""
        self._silent.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                if self._silent.is_set():
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                self._ends.append(server)
                for source, target in ((client, server), (server, client)):
                    thread = threading.Thread(target=self._forward, args=(source, target), name="silent", daemon=True)
                    thread.start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._silent.is_set():
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
