"""`listen`: a local webhook inspector that checks signatures."""

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

_MOST = 16 * 1024 * 1024


@click.command()
@click.option(
    "--port", default=9000, show_default=True, type=click.IntRange(0, 65535), help="Where to listen; 0: a spare one."
)
@click.option(
    "--status", "answer", default=200, show_default=True, type=click.IntRange(200, 599), help="What to answer."
)
@click.option("--count", type=click.IntRange(1), help="End after so many callbacks.")
@json_option
@pass_output
def listen(output: Output, port: int, answer: int, count: int | None) -> None:
    """Show the callbacks that come in on this machine, and whether their signatures hold (RELAY_WEBHOOK_SECRET)."""
    enough = threading.Event()
    server = _listening(port, _handler(output, answer, output.settings.webhook_secret, count, enough))
    thread = threading.Thread(target=server.serve_forever, name="listen", daemon=True)
    thread.start()
    here = f"127.0.0.1:{server.server_address[1]}"
    output.message(f"Listening on http://{here}/  (the worker needs RELAY_ALLOW_PRIVATE_URLS={here} to reach it)")
    try:
        while not enough.wait(0.2):
            pass
    finally:
        server.shutdown()
        server.server_close()


def _listening(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as exc:
        raise ConfigError([f"--port {port} cannot be used ({exc.strerror}): choose another."]) from exc


def _handler(
    output: Output, answer: int, secrets: tuple[str, ...], count: int | None, enough: threading.Event
) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()
    seen = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal seen
            length = self.headers.get("Content-Length") or "0"
            body = self.rfile.read(min(int(length) if length.isdecimal() else 0, _MOST))
            self.send_response(answer)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            with lock:
                try:
                    _show(output, dict(self.headers.items()), body, secrets)
                except PipeClosed:
                    enough.set()
                seen += 1
                if count is not None and seen >= count:
                    enough.set()

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
        told = json.loads(text)
    except ValueError:
        told = {}
    head = (timestamp(time.time()), told.get("requestId", "?"), told.get("status", "?"), f"signature {signature}")
    output.line("\t".join(map(str, head)))
    answer = str(told.get("response") or told.get("error") or text)
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
