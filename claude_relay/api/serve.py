"""
The waitress server: settings and graceful stop.

`send_bytes` is above the size of a usual response, so that the main loop sends it in one call: with the default each
thread sends headers and body itself while the main loop spins (*measured*: 988 requests/s against 1,946 at 16
connections).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import falcon
import waitress
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from .. import __version__
from ..config import Settings
from ..errors import ConfigError, RelayError, StoreUnavailable
from ..services import MAX_DOWNLOADS, Relay
from ..systemd import ServiceLoop, Supervisor
from .channel import Channel
from .connections import ConnectionLimits, IncompleteRequests
from .event_loop import EventLoop
from .forwarded import TrustedProxy
from .prefer_wait import MAX_WAITERS
from .task_queue import TaskQueue, Wakeup
from .trusted_proxy import TrustedPeers

log = logging.getLogger(__name__)

_SEND_BYTES = 65_536
#: Bytes of a response in several pieces that wait for a client that reads slowly; then its thread waits.
_UNREAD_BYTES = 2**20
#: A body of as many bytes arrives in one or two reads; after 8 KiB, as in waitress, its head would take a thread.
_RECV_BYTES = 65_536
#: The longest that a thread keeps the interpreter lock while others want it, in seconds. A thread that has requests in
#: its queue never waits, so that after each statement the store's writer would wait for Python's five milliseconds.
_SWITCH = 0.001
#: Connections that wait to be accepted.
_BACKLOG = 4_096
#: Requests in flight at a stop have this long to end, in seconds.
_GRACE = 10.0
#: An idle connection is kept open this long at a stop, in seconds: its client may be about to send a request.
_LINGER = 1.0
#: Interval of the supervisor's checks, and the longest silence of a part before it counts as hung, in seconds.
_TICK, _PATIENCE = 0.5, 20.0


class Server:
    """
    The API process: serves until SIGTERM, SIGINT or a hand-over.

    Then it stops listening and answers the connected clients: requests in flight are finished, and each response closes
    its connection. New connections wait in the socket for the next process, where the socket was inherited (systemd's
    socket activation), so that a restart refuses none.
    """

    def __init__(
        self,
        app: falcon.App[Any, Any],
        settings: Settings,
        relay: Relay,
        stopping: threading.Event,
        supervisor: Supervisor | None = None,
        reread: Callable[[], None] = lambda: None,
    ) -> None:
        self._relay, self._stopping, self._supervisor = relay, stopping, supervisor or Supervisor()
        self._map: dict[int, Any] = {}
        self._server = listen(app, settings, sockets=self._supervisor.sockets, map=self._map)
        self._listeners = [each for each in self._map.values() if isinstance(each, BaseWSGIServer)]
        for listener in self._listeners:
            listener.stopping = stopping
        self._url = listening_url(self._listeners, settings, inherited=bool(self._supervisor.sockets))
        self._service_loop = ServiceLoop(
            self._supervisor,
            silent=self._hung_part,
            status=self._status,
            sockets=[listener.socket.fileno() for listener in self._listeners],
            reread=reread,
        )
        self._service_thread = threading.Thread(target=self._run_service_loop, name="keeper", daemon=True)

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._service_loop.listen(self._on_signal)
        self._service_thread.start()
        print(f"claude-relay API on {self._url}", file=sys.stderr, flush=True)  # noqa: T201
        log.info("api started", extra={"url": self._url, "version": __version__})
        self._supervisor.ready(f"listening on {self._url}")
        sys.setswitchinterval(_SWITCH)
        while not self._stopping.is_set():
            self._poll(1.0)
        self._drain()
        self._server.task_dispatcher.shutdown(cancel_pending=False, timeout=_GRACE)
        log.info("api stopped")

        return 0

    def _poll(self, timeout: float) -> None:
        with self._server.task_dispatcher.gathering():
            self._server.event_loop.round(timeout)

    def _drain(self) -> None:
        """Serve the connected clients until none waits for a response or is about to send a request; bounded."""
        for listener in self._listeners:
            listener.del_channel(self._map)
            listener.socket.close()
        started = time.monotonic()
        while (spent := time.monotonic() - started) < _GRACE:
            channels = [channel for listener in self._listeners for channel in list(listener.active_channels.values())]
            if not any(_is_busy(channel) for channel in channels) and (spent > _LINGER or not channels):
                break
            self._poll(0.05)
        for listener in self._listeners:
            for channel in list(listener.active_channels.values()):
                channel.handle_close()

    def _run_service_loop(self) -> None:
        while not self._stopping.wait(_TICK):
            if self._service_loop.tick():
                self.stop()

    def _hung_part(self) -> str | None:
        """The part that would not serve a request: the main loop, the thread pool or the store's writer; or None."""
        main, pool = threading.Event(), _Probe()
        patience = min(_PATIENCE, (self._supervisor.watchdog or math.inf) / 4)
        self._listeners[0].trigger.pull_trigger(main.set)
        if not main.wait(patience):
            return "the main loop"
        self._server.task_dispatcher.add_task(pool)
        if not pool.done.wait(patience):
            return "the request threads"
        with contextlib.suppress(StoreUnavailable):  # locked or full, but it answers
            self._relay.maintenance.ping_writer()

        return None

    def _status(self) -> str:
        try:
            return f"listening on {self._url}, {self._relay.queries.queue_summary()}"
        except RelayError as exc:
            return f"listening on {self._url}; {exc}"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._supervisor.notifier.tell("STOPPING=1", "STATUS=answering the connected clients")
        self.stop()

    def stop(self) -> None:
        """Stop to accept, and end once the connected clients are answered."""
        self._stopping.set()
        self._listeners[0].pull_trigger()


class _Probe:
    """A task that shows that the thread pool runs tasks."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def service(self) -> None:
        self.done.set()

    def cancel(self) -> None:
        self.done.set()


def _is_busy(channel: HTTPChannel) -> bool:
    """Whether its client waits for a response, or has begun to send a request."""
    return bool(channel.requests or channel.request is not None or channel.total_outbufs_len or channel.will_close)


def listening_url(listeners: Sequence[Any], settings: Settings, *, inherited: bool) -> str:
    """The URL of the first listener."""
    name = listeners[0].socket.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    if inherited and settings.port not in (0, name[1]):
        log.warning(
            "PORT differs from the port of the inherited socket: change claude-relay-api.socket and restart it",
            extra={"listening": name[1], "PORT": settings.port},
        )
    host = name[0] if inherited else settings.host.strip("[]")

    return f"http://[{host}]:{name[1]}" if ":" in host else f"http://{host}:{name[1]}"


def _every_address(port: int) -> socket.socket:
    """A socket for all addresses of the machine, IPv4 and IPv6."""
    return socket.create_server(("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)


def listen(
    app: falcon.App[Any, Any],
    settings: Settings,
    *,
    sockets: Sequence[socket.socket] = (),
    map: dict[int, Any] | None = None,
    limits: ConnectionLimits | None = None,
) -> Any:
    """Create a waitress server on the inherited `sockets`, or on RELAY_HOST and PORT."""
    limits = limits or ConnectionLimits()
    trusted = TrustedPeers(settings.trusted_proxy or "")
    incomplete, tasks = IncompleteRequests(limits, unbounded=trusted), TaskQueue()
    map = {} if map is None else map
    event_loop = EventLoop(map)
    try:
        if not sockets and settings.host.strip("[]") == "::":  # which waitress takes for every IPv6 address alone
            sockets = [_every_address(settings.port)]
        address = {"sockets": list(sockets)} if sockets else {"host": settings.host, "port": settings.port}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server = waitress.create_server(
                TrustedProxy(app, trusted) if settings.trusted_proxy else app,
                map=map,
                _dispatcher=tasks,
                **address,
                ident=None,
                max_request_body_size=settings.max_body,
                max_request_header_size=32 * 1024,
                connection_limit=limits.connections + 100,
                backlog=_BACKLOG,
                channel_timeout=60,
                cleanup_interval=10,
                channel_request_lookahead=0,
                asyncore_use_poll=True,
                clear_untrusted_proxy_headers=False,  # its middleware; without a trusted proxy these are never read
                expose_tracebacks=False,
                recv_bytes=_RECV_BYTES,
                send_bytes=_SEND_BYTES,
                outbuf_high_watermark=_UNREAD_BYTES,
            )
        for listener in (server, *map.values()):
            listener.channel_class, listener.incomplete, listener.event_loop = Channel, incomplete, event_loop
            if isinstance(listener, BaseWSGIServer):
                Wakeup.adopt(listener.trigger)
        tasks.set_thread_count(settings.threads + MAX_WAITERS + MAX_DOWNLOADS)
        return server
    except ValueError as exc:  # of waitress, which has resolved the name
        problem = (
            f"RELAY_HOST {settings.host} is no address of this machine: set it to 127.0.0.1, 0.0.0.0 or another one."
        )
        raise ConfigError([problem]) from exc
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            problem = (
                f"PORT {settings.port} is already in use: stop the program that listens there, or set PORT to another."
            )
        elif exc.errno == errno.EACCES:
            problem = f"PORT {settings.port} needs more rights than this user has: set PORT to 1024 or more."
        else:
            problem = f"RELAY_HOST {settings.host} cannot be listened on: {exc.strerror or exc}."
        raise ConfigError([problem]) from exc
