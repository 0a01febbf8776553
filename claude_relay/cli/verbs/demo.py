"""`demo`: an invoice from request to webhook, with real processes and the sandbox instead of Claude."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import click

from ...core.jobs.events import EventName
from ...errors import RelayError, TimedOut
from ..render.output import Output, json_option, pass_output

T = TypeVar("T")

#: Time limits for the start of the API and for the callback, in seconds.
_START, _CALLBACK = 90.0, 90.0


@click.command()
@json_option
@pass_output
def demo(output: Output) -> None:
    """Run the whole path without a key or cost: an invoice in over HTTP, 133 fields out to a webhook."""
    from ...demo import faktura_request

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claude-relay-demo-")))
        hook, callbacks = stack.enter_context(_receiver())
        key = secrets.token_urlsafe(24)
        env = _environment(folder, key)
        output.message("Starting the API and a worker, with the sandbox instead of Claude …")
        api, _ = (stack.enter_context(_daemon(verb, env, folder)) for verb in ("serve", "worker"))
        url = _wait_for(lambda: _api_url(folder, api), within=_START, event="the API to listen", folder=folder)

        body = {**faktura_request(), "webhookUrl": hook}
        size = len(body["files"][0]["data"]) * 3 // 4
        output.message(f"POST {url}/api/claude  (a prompt, a schema and faktura.pdf, {size // 1024} KiB)")
        start = time.monotonic()
        accepted = _submit(url, key, body)
        steps = [("accepted", time.monotonic() - start, f"202, on disk: {accepted['requestId']}")]
        callback = _wait_for(lambda: _next(callbacks), within=_CALLBACK, event="the callback", folder=folder)
        steps.append(("delivered", time.monotonic() - start, f"POST {hook}, {len(callback)} bytes"))
        answer = json.loads(callback)
        steps[1:1] = _relay_steps(url, key, accepted["requestId"])
        _show(output, answer, steps)


def _show(output: Output, answer: dict[str, Any], steps: list[tuple[str, float, str]]) -> None:
    if answer.get("status") != "completed":
        raise RelayError(f"the demo's job failed: {answer.get('error')}")
    fields = answer["json"]
    if output.json:
        output.value(answer)
        return
    output.message("")
    for step, seconds, detail in steps:
        output.message(f"  {seconds:6.2f} s  {step:<11} {detail}")
    output.message(
        f"\nThe callback's json has {len(fields)} fields. Their values come from the sandbox, not from Claude:\n"
    )
    output.table(("FIELD", "VALUE"), fields.items())
    output.message(
        "\nThat was the sandbox: plausible values, no key, no cost. With Claude itself: claude-relay config init,"
        "\nset your ANTHROPIC_API_KEY, then claude-relay serve and claude-relay worker."
    )


def _environment(folder: Path, key: str) -> dict[str, str]:
    """The environment of the daemons, without the settings of this machine: the demo is the same everywhere."""
    inherited = {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
    }

    return {
        **inherited,
        "CLAUDE_RELAY_SETTINGS": "",
        "RELAY_STORE": f"sqlite:///{folder / 'relay.db'}",
        "RELAY_PROVIDER": "sandbox",
        "RELAY_ALLOW_PRIVATE_URLS": "127.0.0.1",
        "API_SECRET_KEY": key,
        "PORT": "0",
    }


@contextlib.contextmanager
def _daemon(verb: str, env: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    from ...wiring import executable

    with (folder / f"{verb}.log").open("wb") as log:
        process = subprocess.Popen(
            [*executable(), verb], env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@contextlib.contextmanager
def _receiver() -> Iterator[tuple[str, queue.SimpleQueue[bytes]]]:
    """A webhook on this machine: its URL, and a queue of the callbacks that arrive."""
    callbacks: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            callbacks.put(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, name="demo-webhook", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/callback", callbacks
    finally:
        server.shutdown()
        server.server_close()


def _api_url(folder: Path, api: subprocess.Popen[bytes]) -> str | None:
    match = re.search(r"http://127\.0\.0\.1:\d+", (folder / "serve.log").read_text(errors="replace"))
    if match is None and api.poll() is not None:
        raise RelayError(f"the API did not start:\n{_log_tail(folder)}")

    return match[0] if match else None


def _submit(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    from ..client.http import HttpClient

    client = HttpClient(url, key=key)
    try:
        return client.submit(body)
    finally:
        client.close()


def _relay_steps(url: str, key: str, request_id: str) -> list[tuple[str, float, str]]:
    """The steps between the 202 and the callback, from the record of the job."""
    from ..client.http import HttpClient

    client = HttpClient(url, key=key)
    try:
        record = client.record(request_id)
    finally:
        client.close()
    at = {EventName(event["event"]): _seconds(event["at"]) for event in record["events"]}
    submitted = at[EventName.SUBMITTED]
    usage = record["usage"] or {}
    tokens = f"{usage.get('input_tokens', 0)} tokens in, {usage.get('output_tokens', 0)} out"

    return [
        (
            EventName.CLAIMED.value,
            at[EventName.CLAIMED] - submitted,
            "by the worker, recorded in the ledger before the first byte",
        ),
        ("answered", at[EventName.COMPLETED] - submitted, f"by the sandbox ({record['model']}), {tokens}"),
    ]


def _seconds(text: str) -> float:
    from ...core.intake.times import rfc_3339

    return rfc_3339(text)


def _next(callbacks: queue.SimpleQueue[bytes]) -> bytes | None:
    try:
        return callbacks.get(timeout=0.2)
    except queue.Empty:
        return None


def _wait_for(condition: Callable[[], T | None], *, within: float, event: str, folder: Path) -> T:
    give_up = time.monotonic() + within
    while (result := condition()) is None:
        if time.monotonic() > give_up:
            raise TimedOut(f"waited {within:.0f} s for {event}. The logs:\n{_log_tail(folder)}")
        time.sleep(0.05)

    return result


def _log_tail(folder: Path) -> str:
    """The last lines of both logs."""
    logs = sorted(folder.glob("*.log"))

    return "\n".join(
        f"  {log.stem}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()[-8:]
    )
