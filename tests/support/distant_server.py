"""A proxy before PostgreSQL that makes it distant, and counts the messages of transactions that write."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time

_PROTOCOL = b"\x00\x03\x00\x00"  # of the message that starts a session, after others that ask for encryption
_BEGIN, _COMMIT = b"READ COMMITTED", b"COMMIT\x00"


class DistantServer:
    """
    Forwards to `port` on loopback; every answer comes `rtt` seconds later.

    `trips`: messages from BEGIN to COMMIT of transactions that write, while all others wait. `commits`: their number.
    """

    def __init__(self, port: int, *, rtt: float = 0.0) -> None:
        self._to, self._delay = port, rtt / 2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self.trips = self.commits = 0
        threading.Thread(target=self._accept, name="distant", daemon=True).start()

    def __enter__(self) -> DistantServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def set_rtt(self, rtt: float) -> None:
        """Change the round trip time, also of open connections."""
        self._delay = rtt / 2

    def url(self, url: str) -> str:
        """The address of a database, through this proxy."""
        return url.replace(f":{self._to}/", f":{self.port}/")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._forward(client, server, _Counter(self))
                self._forward(server, client, None)

    def _forward(self, source: socket.socket, target: socket.socket, counter: _Counter | None) -> None:
        pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def receive() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(262_144)
                except OSError:
                    data = b""
                if counter is not None:
                    counter.feed(data)
                pieces.put((time.monotonic() + self._delay, data))

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    at, data = pieces.get()
                    if not data:
                        break
                    if (wait := at - time.monotonic()) > 0:
                        time.sleep(wait)
                    target.sendall(data)
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        for run in (receive, send):
            threading.Thread(target=run, name="distant-wire", daemon=True).start()

    def count(self, trips: int) -> None:
        """Add a transaction of that many messages."""
        with self._lock:
            self.trips += trips
            self.commits += 1


class _Counter:
    """Counts the messages of one client: a letter, a length and as many bytes; no letter before the session."""

    def __init__(self, to: DistantServer) -> None:
        self._to = to
        self._data = b""
        self._started = False
        self._trips = 0

    def feed(self, data: bytes) -> None:
        self._data += data
        head = 1 if self._started else 0
        while len(self._data) >= head + 4:
            size = head + int.from_bytes(self._data[head : head + 4], "big")
            if len(self._data) < size:
                return
            message, self._data = self._data[:size], self._data[size:]
            if head and message[:1] == b"Q":
                self._query(message)
            self._started = self._started or message[4:8] == _PROTOCOL
            head = 1 if self._started else 0

    def _query(self, message: bytes) -> None:
        if message[5:100].startswith(b"BEGIN") and _BEGIN in message[:100]:
            self._trips = 1
        elif self._trips:
            self._trips += 1
            if message.endswith(_COMMIT):
                self._to.count(self._trips)
                self._trips = 0
