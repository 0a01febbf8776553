"""
waitress, set up on purpose.

`send_bytes` above a usual answer's size lets it leave in one send by the main loop: with the default each thread sends
headers and body itself while the main loop spins (*measured*: 988 requests/s against 1,946 at 16 connections).
"""

from __future__ import annotations

import errno
import logging
import signal
import sys
import time
import warnings
from types import FrameType
from typing import Any

import falcon
import waitress
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask

from ..config import Settings
from ..core import wire
from ..core.sizes import format_size
from ..errors import ConfigError, InvalidRequest, RelayError, TooLarge

log = logging.getLogger(__name__)

_SEND_BYTES = 65_536
#: Requests under way when the stop comes have this long to end, in seconds.
_GRACE = 10.0


def serve(app: falcon.App[Any, Any], settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests under way are finished first. Answers the exit code."""
    server = listen(app, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    where = f"http://{settings.host}:{server.effective_port}"
    print(f"claude-relay API on {where}", file=sys.stderr, flush=True)  # noqa: T201
    log.info("api started", extra={"url": where})
    try:
        # Ends by the SystemExit of the signal handler; waitress then stops listening.
        server.run()
    finally:
        server.task_dispatcher.shutdown(cancel_pending=False, timeout=_GRACE)
        server.close()
        log.info("api stopped")

    return 0


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


class _Channel(HTTPChannel):
    error_task_class = _SaidInOurShape
    parser_class = _Strict


def listen(app: falcon.App[Any, Any], settings: Settings) -> Any:
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
                host=settings.host,
                port=settings.port,
                threads=settings.threads + settings.streams,
                ident=None,
                max_request_body_size=settings.max_body,
                max_request_header_size=32 * 1024,
                connection_limit=1_000,
                channel_timeout=60,
                cleanup_interval=10,
                channel_request_lookahead=0,
                asyncore_use_poll=True,
                clear_untrusted_proxy_headers=True,
                expose_tracebacks=False,
                send_bytes=_SEND_BYTES,
                **proxy,
            )
        server.channel_class = _Channel
        return server
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            told = f"PORT {settings.port} is in use already: stop what listens there, or set PORT to another."
        elif exc.errno == errno.EACCES:
            told = f"PORT {settings.port} needs more rights than this user has: set PORT to 1024 or more."
        else:
            told = f"RELAY_HOST {settings.host} cannot be listened on: {exc.strerror or exc}."
        raise ConfigError([told]) from exc


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
