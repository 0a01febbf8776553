"""The sandbox as something that is started and stopped: its socket, its threads, its books."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any

from claude_relay.sandbox.batches import SPAN, Batches
from claude_relay.sandbox.call_log import CallLog
from claude_relay.sandbox.handler import Handler

log = logging.getLogger(__name__)

_PATIENCE = 5.0


class Server(ThreadingHTTPServer):
    """A listening socket and a thread for each connection, all of which `close` ends."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], *, books: CallLog, batches: Batches, delay: float) -> None:
        super().__init__(address, Handler)
        self.books, self.batches = books, batches
        self.delay = delay
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that http.server makes: it can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a named thread that `close` can find again."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="sandbox-connection", daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close one connection and forget it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no news; anything else is logged, without a print to stderr."""
        log.debug("a sandbox connection failed", exc_info=True)

    def close(self) -> None:
        """Take no more connections, end the open ones in mid-stream, and wait for their threads."""
        self.stopping.set()
        # A shut-down listener wakes serve_forever at once instead of at its next half second.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()
        with self._lock:
            waiting = list(self._open.items())
        for connection, _ in waiting:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in waiting:
            thread.join(_PATIENCE)


class Sandbox:
    """
    A stand-in for Anthropic's API at `url`, from `start` to `stop`; also a context manager.

    `delay` is the pause before each piece of a streamed answer, `batch_time` what a batch takes at the least. Books and
    batches outlive a restart.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1", *, delay: float = 0.0, batch_time: float = SPAN) -> None:
        self._address = (host, port)
        self._delay = delay
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self.books = CallLog()
        self.batches = Batches(self.books, span=batch_time)

    @property
    def url(self) -> str:
        """The base URL for a client, such as `http://127.0.0.1:41233`."""
        if self._server is None:
            raise RuntimeError("the sandbox is not running: start it first")
        return f"http://{self._address[0]}:{self._server.server_port}"

    def start(self) -> Sandbox:
        """Listen; OSError if the address is taken. A sandbox that already runs is left alone."""
        if self._server is None:
            self._server = Server(self._address, books=self.books, batches=self.batches, delay=self._delay)
            self._thread = threading.Thread(target=self._server.serve_forever, name="sandbox", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and end every open answer; harmless when it does not run."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.close()
            self._thread.join(_PATIENCE)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
