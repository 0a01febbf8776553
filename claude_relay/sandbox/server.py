"""The sandbox as a server to start and stop: its socket, its threads, its state."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any

from claude_relay.sandbox.batches import SPAN, Batches
from claude_relay.sandbox.call_log import CallLog
from claude_relay.sandbox.handler import Handler
from claude_relay.sandbox.state import SandboxState

log = logging.getLogger(__name__)

_JOIN_TIMEOUT = 5.0


class Server(ThreadingHTTPServer):
    """A listening socket and a thread for each connection, all of which `close` ends."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], state: SandboxState) -> None:
        super().__init__(address, functools.partial(Handler, state))
        self._state = state
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}

    def server_bind(self) -> None:
        """Bind without the host name lookup of http.server, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a named thread that `close` can join."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="sandbox-connection", daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close and deregister one connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a failed connection, without http.server's print to stderr."""
        log.debug("a sandbox connection failed", exc_info=True)

    def close(self) -> None:
        """Accept no more connections, cut off the open ones, and wait for their threads."""
        self._state.stopping.set()
        # A shut-down listener wakes serve_forever at once instead of at its next half second.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._open.items())
        for connection, _ in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in connections:
            thread.join(_JOIN_TIMEOUT)


class Sandbox:
    """
    A stand-in for Anthropic's API at `url`, from `start` to `stop`; also a context manager.

    `delay` is the pause before each piece of a streamed answer, `batch_time` the least duration of a batch, in seconds.
    Books and batches survive `stop` and `start`.
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
        """Start to listen; no effect if it runs already. Raises OSError if the address is in use."""
        if self._server is None:
            state = SandboxState(books=self.books, batches=self.batches, delay=self._delay, stopping=threading.Event())
            self._server = Server(self._address, state)
            self._thread = threading.Thread(target=self._server.serve_forever, name="sandbox", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop to listen and cut off every open answer; no effect if it does not run."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.close()
            self._thread.join(_JOIN_TIMEOUT)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
