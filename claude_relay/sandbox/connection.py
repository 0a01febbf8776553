"""One HTTP/1.1 connection: reads a bounded body, sends a response or a script, and prints nothing to stderr."""

from __future__ import annotations

import json
import logging
import math
import select
import socket
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from claude_relay.sandbox import headers
from claude_relay.sandbox.call_log import Call
from claude_relay.sandbox.problem import ApiError
from claude_relay.sandbox.response_script import ResponseScript, StreamEnd
from claude_relay.sandbox.state import SandboxState

log = logging.getLogger(__name__)

MAX_BODY = 32 * 1024 * 1024
MAX_FILE = 128 * 1024 * 1024
MAX_BATCH = 256 * 1024 * 1024
_LARGEST = {"/v1/files": MAX_FILE, "/v1/messages/batches": MAX_BATCH}
_LINGER = 2.0


class Disconnected(Exception):
    """The client left, or the sandbox is stopping."""


class Connection(BaseHTTPRequestHandler):
    """HTTP below the endpoints, which a subclass provides in `route`."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # else an invalid request line gets a body without a status line
    server_version = "claude-relay-sandbox"
    sys_version = ""
    timeout = 120
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True

    def __init__(self, state: SandboxState, *args: Any) -> None:
        self.state = state
        super().__init__(*args)  # serves the whole connection

    def route(self, method: str, path: str) -> None:
        """Answer one request, or raise the `ApiError` that is the answer."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        """Answer one request, and record in the books how it ended."""
        self._begin()
        try:
            self.route(self.command, self.call.path)
        except ApiError as exc:
            self._refuse(exc)
        except RecursionError:
            self._refuse(ApiError(400, "The request is nested too deeply."))
        except (Disconnected, ConnectionError, TimeoutError):
            self.close_connection = True
            self.note(ended="stopped" if self.state.stopping.is_set() else "disconnected")
        except Exception as exc:
            log.exception("the sandbox failed")
            self.close_connection = True
            if not self._answering:
                self._refuse(ApiError(500, "internal error; see its log."))
            self.note(ended=f"internal error: {type(exc).__name__}")

    def _begin(self) -> None:
        self._answering = False
        path = urlsplit(getattr(self, "path", "")).path
        self.call = Call(time=time.time(), path=path, request_id=f"req_sandbox_{uuid.uuid4().hex[:24]}")

    def note(self, **changes: Any) -> None:
        """Record more about this call in the books."""
        self.state.books.note(self.call, **changes)

    def read_body(self) -> bytes:
        """Read the body; a body over the limit is refused unread."""
        length = self.headers.get("content-length", "0")
        if self.headers.get("transfer-encoding"):
            self.close_connection = True
            raise ApiError(411, "a Content-Length is required.")
        if not length.isascii() or not length.isdigit():
            self.close_connection = True
            raise ApiError(400, "Content-Length: must be a whole number.")
        limit = _LARGEST.get(self.call.path, MAX_BODY)
        if len(length) > 12 or int(length) > limit:
            self._refuse_unread(ApiError(413, f"Request exceeds the maximum size of {limit} bytes."))
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Disconnected
        return data

    def send_json(self, value: Any, status: int = 200, extra: Mapping[str, str] | None = None) -> None:
        """Send a JSON response."""
        self.send(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), "application/json", status, extra)

    def send(self, data: bytes, kind: str, status: int = 200, extra: Mapping[str, str] | None = None) -> None:
        """Send a response."""
        self._head(status, kind, len(data), extra)
        self.wfile.write(data)
        self.note(ended="finished" if status == 200 else "error")
        self.wfile.flush()

    def play(self, script: ResponseScript) -> None:
        """Send a script step by step; pieces without a pause between them share a packet."""
        chunked = script.length is None
        self._head(200, "text/event-stream; charset=utf-8" if chunked else "application/json", script.length)
        for step in script.steps:
            self.wait(step.pause)
            if step.data:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(step.data), step.data) if chunked else step.data)
        if script.ending in (StreamEnd.CUT, StreamEnd.STALLED):
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")
        # Record before the flush: a client that has read the answer to its end then finds it in the books.
        self.note(ended=script.ending.value)
        if script.ending is StreamEnd.COMPLETE and self.call.prompt_sha256:
            self.state.books.record_success(self.call.prompt_sha256)
        self.wfile.flush()

    def wait(self, seconds: float) -> None:
        """Wait, or raise `Disconnected` if the client leaves or the sandbox stops: both end the socket."""
        if seconds <= 0:
            return
        self.wfile.flush()
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            if not poll.poll(math.ceil(left * 1000)):
                continue
            # Readable: either the end, or the client's next request, which has to wait.
            if not self.connection.recv(1, socket.MSG_PEEK) or self.state.stopping.wait(left):
                raise Disconnected

    def _refuse(self, error: ApiError) -> None:
        try:
            self.send_json(error.body(self.call.request_id), error.status, error.headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            self.note(ended="disconnected")

    def _refuse_unread(self, error: ApiError) -> None:
        """Answer while the client still sends, then read on briefly: an immediate close would reset the connection."""
        self.close_connection = True
        self._refuse(error)
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER)
        until = time.monotonic() + _LINGER
        while time.monotonic() < until and self.connection.recv(256 * 1024):
            pass
        raise Disconnected

    def _head(self, status: int, content_type: str, length: int | None, extra: Mapping[str, str] | None = None) -> None:
        self._answering = True
        self.note(status=status)
        now, extra = time.time(), dict(extra or {})
        self.send_response(status)
        own = {"content-type": content_type, "cache-control": "no-cache", "request-id": self.call.request_id}
        if self.call.path.startswith("/v1/messages"):
            own |= headers.rate_limits(self.state.books.add_usage(now, calls=1), now, extra.get("retry-after"))
        own |= {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        if self.close_connection:
            own["connection"] = "close"
        for name, value in (own | extra | {headers.SANDBOX: "1"}).items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a malformed request in the shape of every other error."""
        self.close_connection = True
        self._begin()
        self._refuse(ApiError(405 if code == 501 else int(code), message or "this request is malformed."))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the books have more, and no prompt."""
