"""A proxy between a client and PostgreSQL that can cut the connection around a COMMIT."""

from __future__ import annotations

import contextlib
import socket
import threading

_COMMIT = b"; COMMIT\x00"  # only writers send it in this form


class CuttingWire:
    """
    Forwards to `port` on loopback. Armed with `lose`, it cuts off the next COMMIT of a writer; later ones pass:

    "answer": the server commits, but the client gets no answer.
    "request": the server never gets it.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lose: str | None = None
        self.refuses = False
        self.cut = threading.Event()
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def __enter__(self) -> CuttingWire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def lose(self, what: str, *, then_refuse: bool = False) -> None:
        """Lose `what` of the next COMMIT; with `then_refuse`, refuse connections afterwards."""
        self._then_refuse = then_refuse
        self._lose = what

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                state = _Pair(client, server)
                threading.Thread(target=self._forth, args=(state,), name="wire-forth", daemon=True).start()
                threading.Thread(target=self._back, args=(state,), name="wire-back", daemon=True).start()

    def _forth(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(65536):
                if self._lose is not None and data.endswith(_COMMIT):
                    what, self._lose = self._lose, None
                    self.refuses = self._then_refuse
                    pair.deaf.set()
                    if what == "answer":
                        pair.server.sendall(data)
                        pair.answered.wait(60)
                    self.cut.set()
                    break
                pair.server.sendall(data)
        pair.close()

    def _back(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.server.recv(65536):
                if pair.deaf.is_set():
                    pair.answered.set()
                    continue
                pair.client.sendall(data)
        pair.close()


class _Pair:
    """Both ends of one connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.deaf, self.answered = threading.Event(), threading.Event()

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
