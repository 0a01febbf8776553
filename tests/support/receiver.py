"""
Scriptable webhook receiver that records its requests.

    with Receiver() as hook:
        hook.answer("/x", Answer(status=503), Answer(status=200))
        ...  # something posts to hook.url("/x")
        first, second = hook.wait_for(2)

Alone: `python -m tests.support.receiver --port 0 --books FILE` prints its URL on the first line. It shares no code
with the product, so that both cannot have the same bug.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The response to one request. All waits end when the receiver closes."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"Accepted"
    delay: float = 0.0  # seconds before the first byte
    drip: float = 0.0  # seconds between the bytes of the body, or the pieces of `raw`
    reset: bool = False  # a TCP reset instead of an answer
    raw: Callable[[], Iterable[bytes]] | None = None  # the complete response as sent, valid or not


@dataclass(frozen=True, kw_only=True)
class Received:
    """One received request. Header names are lower case."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Server on 127.0.0.1. The last answer of a path repeats; other paths get 200 `Accepted`."""

    def __init__(
        self,
        answers: Mapping[str, Answer | Iterable[Answer]] | None = None,
        *,
        port: int = 0,
        books: str | os.PathLike[str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.connections = 0
        self._scheme = "https" if tls else "http"
        self._answers: dict[str, list[Answer]] = {}
        self._received: list[Received] = []
        self._news = threading.Condition()
        self._closing = threading.Event()
        self._books = Path(books).open("ab", buffering=0) if books else None  # noqa: SIM115
        self._server = _Server(self, port, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="receiver", daemon=True)
        for path, some in (answers or {}).items():
            self.answer(path, *([some] if isinstance(some, Answer) else some))

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(60)
        self._server.server_close()
        if self._books:
            self._books.close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def answer(self, path: str, *answers: Answer) -> None:
        """Set the answers of `path`: one per request, the last for all further ones."""
        with self._news:
            self._answers[path] = list(answers)

    @property
    def received(self) -> list[Received]:
        with self._news:
            return list(self._received)

    def wait_for(self, count: int, timeout: float = 60.0, path: str | None = None) -> list[Received]:
        """Wait for `count` requests (to that path); the TimeoutError has the actual count."""

        def matching() -> list[Received]:
            return [request for request in self._received if path is None or request.path.partition("?")[0] == path]

        with self._news:
            if not self._news.wait_for(lambda: len(matching()) >= count, timeout):
                raise TimeoutError(f"{len(matching())} of {count} requests came within {timeout} s")
            return matching()

    def _note(self, received: Received) -> Answer:
        """Record a request before it is answered, so that each answered request is recorded."""
        with self._news:
            if self._books:
                self._books.write(_line(received))
                os.fsync(self._books.fileno())
            self._received.append(received)
            self._news.notify_all()
            script = self._answers.get(received.path.partition("?")[0]) or [Answer()]
            return script.pop(0) if len(script) > 1 else script[0]


def read_books(path: str | os.PathLike[str]) -> list[Received]:
    """The requests that a receiver in another process has recorded."""
    entries = [json.loads(line) for line in Path(path).read_bytes().splitlines()]

    return [Received(**{**entry, "body": base64.b64decode(entry["body"])}) for entry in entries]


def _line(received: Received) -> bytes:
    entry = {**asdict(received), "body": base64.b64encode(received.body).decode()}

    return json.dumps(entry).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver, port: int, tls: ssl.SSLContext | None) -> None:
        self.receiver = receiver
        self._tls = tls
        super().__init__(("127.0.0.1", port), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.receiver.connections += 1
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        with self._tls.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def shutdown_request(self, request: Any) -> None:
        if request.fileno() >= 0 and request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _ABORT:
            request.close()  # without an orderly shutdown
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients that disconnect are expected
            super().handle_error(request, client_address)


_ABORT = struct.pack("ii", 1, 0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        received = Received(at=time.time(), method=self.command, path=self.path, headers=headers, body=body)
        self._give(receiver._note(received), receiver._closing)

    do_GET = do_PUT = do_HEAD = do_POST

    def _give(self, answer: Answer, closing: threading.Event) -> None:
        if answer.delay and closing.wait(answer.delay):
            self.close_connection = True
            return
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            self.close_connection = True
            return
        if answer.raw is not None:
            self.close_connection = True
            pieces: Iterable[bytes] = answer.raw()
        else:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            pieces = [bytes([byte]) for byte in answer.body] if answer.drip else [answer.body]
        for piece in pieces:
            if closing.is_set() or (answer.drip and closing.wait(answer.drip)):
                self.close_connection = True
                return
            self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description="A webhook receiver that records its requests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--books", help="append each request to this file as a line of JSON, the body in base64")
    parser.add_argument(
        "--answers",
        type=json.loads,
        default={},
        help='answers by path, as JSON: {"/x": [{"status": 503}, {"status": 200, "delay": 1}]}',
    )
    options = parser.parse_args()
    answers = {path: [_answer(fields) for fields in some] for path, some in options.answers.items()}
    with Receiver(answers, port=options.port, books=options.books) as hook:
        print(hook.url(), flush=True)
        threading.Event().wait()


def _answer(fields: dict[str, Any]) -> Answer:
    return Answer(**{**fields, "body": fields.get("body", "Accepted").encode()})


if __name__ == "__main__":
    main()
