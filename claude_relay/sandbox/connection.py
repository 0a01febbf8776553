"""One connection, as HTTP/1.1: a bounded body in, an answer or a score out, and never a word on stderr."""

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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from claude_relay.sandbox import headers
from claude_relay.sandbox.call_log import Call
from claude_relay.sandbox.problem import ApiError
from claude_relay.sandbox.response_script import ResponseScript, StreamEnd

if TYPE_CHECKING:
    from claude_relay.sandbox.server import Server

log = logging.getLogger(__name__)

MAX_BODY = 32 * 1024 * 1024
MAX_FILE = 128 * 1024 * 1024
MAX_BATCH = 256 * 1024 * 1024
_LARGEST = {"/v1/files": MAX_FILE, "/v1/messages/batches": MAX_BATCH}
_LINGER = 2.0


class Gone(Exception):
    """The client left, or the sandbox is stopping."""


class Connection(BaseHTTPRequestHandler):
    """The plumbing under the endpoints; `route` is theirs."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # else a request line that cannot be read gets a body without a status line
    server_version = "claude-relay-sandbox"
    sys_version = ""
    timeout = 120
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server: Server

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
        """Answer one request; whatever happens, the books say how it ended."""
        self._begin()
        try:
            self.route(self.command, self.call.path)
        except ApiError as exc:
            self._refuse(exc)
        except RecursionError:
            self._refuse(ApiError(400, "The request is nested too deeply."))
        except (Gone, ConnectionError, TimeoutError):
            self.close_connection = True
            self.note(ended="stopped" if self.server.stopping.is_set() else "disconnected")
        except Exception as exc:
            log.exception("the sandbox failed")
            self.close_connection = True
            if not self._answering:
                self._refuse(ApiError(500, "a failure of its own; its log has more."))
            self.note(ended=f"internal error: {type(exc).__name__}")

    def _begin(self) -> None:
        self._answering = False
        path = urlsplit(getattr(self, "path", "")).path
        self.call = Call(time=time.time(), path=path, request_id=f"req_sandbox_{uuid.uuid4().hex[:24]}")

    def note(self, **changes: Any) -> None:
        """Write more about this call into the books."""
        self.server.books.note(self.call, **changes)

    def read_body(self) -> bytes:
        """The whole body, never more than the limit; what is too large is not kept."""
        length = self.headers.get("content-length", "0")
        if self.headers.get("transfer-encoding"):
            self.close_connection = True
            raise ApiError(411, "a Content-Length is required.")
        if not length.isascii() or not length.isdigit():
            self.close_connection = True
            raise ApiError(400, "Content-Length: must be a whole number.")
        most = _LARGEST.get(self.call.path, MAX_BODY)
        if len(length) > 12 or int(length) > most:
            self._refuse_unread(ApiError(413, f"Request exceeds the maximum size of {most} bytes."))
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Gone
        return data

    def send_json(self, value: Any, status: int = 200, extra: Mapping[str, str] | None = None) -> None:
        """Answer with one JSON text."""
        self.send(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), "application/json", status, extra)

    def send(self, data: bytes, kind: str, status: int = 200, extra: Mapping[str, str] | None = None) -> None:
        """Answer with those bytes."""
        self._head(status, kind, len(data), extra)
        self.wfile.write(data)
        self.note(ended="finished" if status == 200 else "error")
        self.wfile.flush()

    def play(self, score: ResponseScript) -> None:
        """Send a score step by step; pieces without a pause between them share a packet."""
        chunked = score.length is None
        self._head(200, "text/event-stream; charset=utf-8" if chunked else "application/json", score.length)
        for step in score.steps:
            self.wait(step.after)
            if step.data:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(step.data), step.data) if chunked else step.data)
        if score.ending in (StreamEnd.CUT, StreamEnd.STALLED):
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")
        # The books come first: whoever has read the answer to its end finds it there.
        self.note(ended=score.ending.value)
        if score.ending is StreamEnd.WHOLE and self.call.prompt_sha256:
            self.server.books.record_success(self.call.prompt_sha256)
        self.wfile.flush()

    def wait(self, seconds: float) -> None:
        """Let time pass, unless the client leaves or the sandbox stops: both show as the end of the socket."""
        if seconds <= 0:
            return
        self.wfile.flush()
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            if not poll.poll(math.ceil(left * 1000)):
                continue
            # Something to read: either the end, or a next request that has to wait its turn.
            if not self.connection.recv(1, socket.MSG_PEEK) or self.server.stopping.wait(left):
                raise Gone

    def _refuse(self, error: ApiError) -> None:
        try:
            self.send_json(error.body(self.call.request_id), error.status, error.headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            self.note(ended="disconnected")

    def _refuse_unread(self, error: ApiError) -> None:
        """Answer while the client still sends, then read on a moment: closing at once would reset the answer away."""
        self.close_connection = True
        self._refuse(error)
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER)
        until = time.monotonic() + _LINGER
        while time.monotonic() < until and self.connection.recv(256 * 1024):
            pass
        raise Gone

    def _head(self, status: int, content_type: str, length: int | None, extra: Mapping[str, str] | None = None) -> None:
        self._answering = True
        self.note(status=status)
        now, extra = time.time(), dict(extra or {})
        self.send_response(status)
        own = {"content-type": content_type, "cache-control": "no-cache", "request-id": self.call.request_id}
        if self.call.path.startswith("/v1/messages"):
            own |= headers.rate_limits(self.server.books.spend(now, calls=1), now, extra.get("retry-after"))
        own |= {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        if self.close_connection:
            own["connection"] = "close"
        for name, value in (own | extra | {headers.SANDBOX: "1"}).items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the HTTP layer refuses by itself, in the same shape as everything else."""
        self.close_connection = True
        self._begin()
        self._refuse(ApiError(405 if code == 501 else int(code), message or "this request cannot be read."))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the books tell more, and no prompt."""
