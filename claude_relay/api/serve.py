"""
waitress, set up on purpose.

`send_bytes` above a usual answer's size lets it leave in one send by the main loop: with the default each thread sends
headers and body itself while the main loop spins (*measured*: 988 requests/s against 1,946 at 16 connections).
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
from collections.abc import Sequence
from types import FrameType
from typing import Any

import falcon
import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask, WSGITask

from .. import __version__
from ..config import Settings
from ..core import wire
from ..core.text.sizes import format_size
from ..errors import ConfigError, InvalidRequest, RelayError, StoreUnavailable, TooLarge
from ..services import Relay
from ..systemd import ServiceLoop, Supervisor

log = logging.getLogger(__name__)

_SEND_BYTES = 65_536
#: Requests under way when the stop comes have this long to end, in seconds.
_GRACE = 10.0
#: A connection that is silent when the stop comes is kept this long: its client may be about to ask again.
_LINGER = 1.0
#: How often the supervisor is looked after, and how long a part may be silent before it is missed, in seconds.
_TICK, _PATIENCE = 0.5, 20.0


class Server:
    """
    The API's process: serves until SIGTERM, SIGINT or a hand-over.

    Then it stops listening, and whoever is connected is still answered: requests under way are finished, and each
    answer says that the connection ends. Connections that come meanwhile wait in the socket for the next process,
    where one was handed down (systemd's socket activation), so that a restart refuses nobody.
    """

    def __init__(
        self,
        app: falcon.App[Any, Any],
        settings: Settings,
        relay: Relay,
        leaving: threading.Event,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._relay, self._leaving, self._above = relay, leaving, supervisor or Supervisor()
        self._map: dict[int, Any] = {}
        self._listening = listen(app, settings, sockets=self._above.sockets, map=self._map)
        self._listeners = [one for one in self._map.values() if isinstance(one, BaseWSGIServer)]
        for one in self._listeners:
            one.leaving = leaving
        self._where = _where(self._listeners, settings, told=bool(self._above.sockets))
        self._keeper = ServiceLoop(
            self._above,
            silent=self._silent,
            status=self._status,
            sockets=[one.socket.fileno() for one in self._listeners],
        )
        self._watch = threading.Thread(target=self._look_after, name="keeper", daemon=True)

    def run(self) -> int:
        """Answers the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._keeper.listen()
        self._watch.start()
        print(f"claude-relay API on {self._where}", file=sys.stderr, flush=True)  # noqa: T201
        log.info("api started", extra={"url": self._where, "version": __version__})
        self._above.ready(f"listening on {self._where}")
        while not self._leaving.is_set():
            self._turn(1.0)
        self._drain()
        self._listening.task_dispatcher.shutdown(cancel_pending=False, timeout=_GRACE)
        log.info("api stopped")

        return 0

    def _turn(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)

    def _drain(self) -> None:
        """Until nobody is waiting for an answer or about to ask; bounded."""
        for one in self._listeners:
            one.del_channel(self._map)
            one.socket.close()
        began = time.monotonic()
        while (spent := time.monotonic() - began) < _GRACE:
            channels = [channel for one in self._listeners for channel in list(one.active_channels.values())]
            if not any(_busy(channel) for channel in channels) and (spent > _LINGER or not channels):
                break
            self._turn(0.05)
        for one in self._listeners:
            for channel in list(one.active_channels.values()):
                channel.handle_close()

    def _look_after(self) -> None:
        while not self._leaving.wait(_TICK):
            if self._keeper.tick():
                self._leave()

    def _silent(self) -> str | None:
        """Whether a request would be answered: by the main loop, by a thread of the pool and by the store's writer."""
        main, pool, patience = threading.Event(), _Probe(), min(_PATIENCE, (self._above.watchdog or math.inf) / 4)
        self._listeners[0].trigger.pull_trigger(main.set)
        if not main.wait(patience):
            return "the main loop"
        self._listening.task_dispatcher.add_task(pool)
        if not pool.done.wait(patience):
            return "the request threads"
        with contextlib.suppress(StoreUnavailable):  # locked or full, and it says so: it lives
            self._relay.maintenance.ping_writer()

        return None

    def _status(self) -> str:
        try:
            return f"listening on {self._where}, {self._relay.queries.queue_summary()}"
        except RelayError as exc:
            return f"listening on {self._where}; {exc}"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._above.notifier.tell("STOPPING=1", "STATUS=answering whoever is connected")
        self._leave()

    def _leave(self) -> None:
        self._leaving.set()
        self._listeners[0].pull_trigger()


class _Probe:
    """A task for the pool that shows that it is taken up."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def service(self) -> None:
        self.done.set()

    def cancel(self) -> None:
        self.done.set()


def _busy(channel: HTTPChannel) -> bool:
    """Whether its client waits for an answer, or has begun to ask."""
    return bool(channel.requests or channel.request is not None or channel.total_outbufs_len or channel.will_close)


def _where(listeners: Sequence[Any], settings: Settings, *, told: bool) -> str:
    """The first address that is listened on."""
    name = listeners[0].socket.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    if told and settings.port not in (0, name[1]):
        log.warning(
            "PORT is not what the socket listens on: that is said by claude-relay-api.socket, and needs its restart",
            extra={"listening": name[1], "PORT": settings.port},
        )
    host = settings.host if not told else f"[{name[0]}]" if ":" in name[0] else name[0]

    return f"http://{host}:{name[1]}"


class _SaidInOurShape(ErrorTask):
    """What waitress refuses before the app sees it (a body too large, a broken request), in the one shape of errors."""

    def execute(self) -> None:
        fault = self.request.error
        error: RelayError
        if fault.code == 413:
            limit = format_size(self.channel.server.adj.max_request_body_size)
            error = TooLarge(f"The body is too large: at most {limit} (RELAY_MAX_BODY).")
        else:
            error = InvalidRequest(f"The request cannot be read: {fault.reason.lower()}.")
        body = wire.encode({**wire.error_body(error, now=time.time()), "status": fault.code})
        self.status = f"{fault.code} {fault.reason}"
        told = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        self.response_headers.extend([*told.items(), ("Connection", "close")])
        self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)


class _Strict(HTTPRequestParser):
    """Refuses requests whose end two readers may see in different places, which is how one is smuggled in another."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        heads = [line.lower() for line in header_plus.split(b"\r\n")[1:]]
        codings = [line.partition(b":")[2].strip() for line in heads if line.startswith(b"transfer-encoding:")]
        if codings and (codings != [b"chunked"] or any(line.startswith(b"content-length:") for line in heads)):
            raise ParsingError("the end of the request is ambiguous")


class _Task(WSGITask):
    def build_response_header(self) -> bytes:
        leaving = getattr(self.channel.server, "leaving", None)
        if leaving is not None and leaving.is_set():
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head


class _Channel(HTTPChannel):
    task_class = _Task
    error_task_class = _SaidInOurShape
    parser_class = _Strict


def listen(
    app: falcon.App[Any, Any],
    settings: Settings,
    *,
    sockets: Sequence[socket.socket] = (),
    map: dict[int, Any] | None = None,
) -> Any:
    """A waitress that listens: on `sockets` that were handed down, else on RELAY_HOST and PORT."""
    where: dict[str, Any] = {"sockets": list(sockets)} if sockets else {"host": settings.host, "port": settings.port}
    proxy: dict[str, Any] = {}
    if settings.trusted_proxy:
        proxy = {
            "trusted_proxy": settings.trusted_proxy,
            "trusted_proxy_count": 1,
            "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"},
        }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server = waitress.create_server(
                app,
                map=map,
                **where,
                threads=settings.threads + settings.streams,
                ident=None,
                max_request_body_size=settings.max_body,
                max_request_header_size=32 * 1024,
                connection_limit=1_000,
                backlog=4_096,
                channel_timeout=60,
                cleanup_interval=10,
                channel_request_lookahead=0,
                asyncore_use_poll=True,
                clear_untrusted_proxy_headers=True,
                expose_tracebacks=False,
                send_bytes=_SEND_BYTES,
                **proxy,
            )
        for one in (server, *(map or {}).values()):
            one.channel_class = _Channel
        return server
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            told = f"PORT {settings.port} is in use already: stop what listens there, or set PORT to another."
        elif exc.errno == errno.EACCES:
            told = f"PORT {settings.port} needs more rights than this user has: set PORT to 1024 or more."
        else:
            told = f"RELAY_HOST {settings.host} cannot be listened on: {exc.strerror or exc}."
        raise ConfigError([told]) from exc
