"""`listen`: a local webhook receiver that prints callbacks and verifies their signatures."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from ...core.deliveries.signing import verify
from ...core.wire import timestamp
from ...errors import ConfigError, InvalidRequest
from ..render.output import Output, PipeClosed, json_option, pass_output

_MAX_BODY = 16 * 1024 * 1024


@click.command()
@click.option(
    "--port", default=9000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one."
)
@click.option(
    "--status",
    "answer",
    default=200,
    show_default=True,
    type=click.IntRange(200, 599),
    help="HTTP status of the responses.",
)
@click.option("--count", type=click.IntRange(1), help="Exit after this number of callbacks.")
@json_option
@pass_output
def listen(output: Output, port: int, answer: int, count: int | None) -> None:
    """Receive callbacks on this machine; print them, and whether their signatures are valid (RELAY_WEBHOOK_SECRET)."""
    done = threading.Event()
    server = _server(port, _handler(output, answer, output.settings.webhook_secret, count, done))
    thread = threading.Thread(target=server.serve_forever, name="listen", daemon=True)
    thread.start()
    address = f"127.0.0.1:{server.server_address[1]}"
    output.message(f"Listening on http://{address}/  (the worker needs RELAY_ALLOW_PRIVATE_URLS={address} to reach it)")
    try:
        while not done.wait(0.2):
            pass
    finally:
        server.shutdown()
        server.server_close()


def _server(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as exc:
        raise ConfigError([f"--port {port} cannot be used ({exc.strerror}): choose another."]) from exc


def _handler(
    output: Output, answer: int, secrets: tuple[str, ...], count: int | None, done: threading.Event
) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()
    received = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal received
            length = self.headers.get("Content-Length") or "0"
            body = self.rfile.read(min(int(length) if length.isdecimal() else 0, _MAX_BODY))
            self.send_response(answer)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            with lock:
                try:
                    _show(output, dict(self.headers.items()), body, secrets)
                except PipeClosed:
                    done.set()
                received += 1
                if count is not None and received >= count:
                    done.set()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _show(output: Output, headers: dict[str, str], body: bytes, secrets: tuple[str, ...]) -> None:
    signature = _signature(headers, body, secrets)
    text = body.decode("utf-8", "replace")
    if output.json:
        output.line(text)
        output.message(f"signature {signature}")
        return
    try:
        callback = json.loads(text)
    except ValueError:
        callback = {}
    request_id = callback.get("requestId") or callback.get("collectionId", "?")
    status = callback.get("status", "?")
    head = (timestamp(time.time()), request_id, status, f"signature {signature}")
    output.line("\t".join(map(str, head)))
    answer = str(callback.get("response") or callback.get("error") or text)
    for line in answer.splitlines()[:12] or [""]:
        output.line(f"    {line}")


def _signature(headers: dict[str, str], body: bytes, secrets: tuple[str, ...]) -> str:
    if not secrets:
        return "not checked (RELAY_WEBHOOK_SECRET is not set)"
    try:
        verify(headers, body, secrets, now=time.time())
    except InvalidRequest as exc:
        return f"NOT VALID: {exc}"

    return "valid"
