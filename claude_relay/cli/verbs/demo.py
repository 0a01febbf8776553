"""`demo`: the customer's invoice, all the way, with real processes and the sandbox in Claude's place."""

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

_START, _ANSWER = 90.0, 90.0


@click.command()
@json_option
@pass_output
def demo(output: Output) -> None:
    """Everything at once, without a key or a cent: an invoice goes in over HTTP, 133 fields arrive at a webhook."""
    from ...demo import faktura_request

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claude-relay-demo-")))
        hook, arrived = stack.enter_context(_receiver())
        key = secrets.token_urlsafe(24)
        env = _environment(folder, key)
        output.message("Starting the API and a worker, with the sandbox in Claude's place …")
        api, _ = (stack.enter_context(_daemon(verb, env, folder)) for verb in ("serve", "worker"))
        url = _until(lambda: _address(folder, api), within=_START, what="the API to listen", folder=folder)

        body = {**faktura_request(), "webhookUrl": hook}
        size = len(body["files"][0]["data"]) * 3 // 4
        output.message(f"POST {url}/api/claude  (a prompt, a schema and faktura.pdf, {size // 1024} KiB)")
        began = time.monotonic()
        accepted = _submit(url, key, body)
        road = [("accepted", time.monotonic() - began, f"202, on disk: {accepted['requestId']}")]
        callback = _until(lambda: _took(arrived), within=_ANSWER, what="the callback", folder=folder)
        road.append(("delivered", time.monotonic() - began, f"POST {hook}, {len(callback)} bytes"))
        answer = json.loads(callback)
        road[1:1] = _between(url, key, accepted["requestId"])
        _show(output, answer, road)


def _show(output: Output, answer: dict[str, Any], road: list[tuple[str, float, str]]) -> None:
    if answer.get("status") != "completed":
        raise RelayError(f"the demo's job failed: {answer.get('error')}")
    fields = answer["json"]
    if output.json:
        output.value(answer)
        return
    output.message("")
    for step, seconds, detail in road:
        output.message(f"  {seconds:6.2f} s  {step:<11} {detail}")
    output.message(
        f"\nThe callback's json has {len(fields)} fields. Their values come from the sandbox, not from Claude:\n"
    )
    output.table(("FIELD", "VALUE"), fields.items())
    output.message(
        "\nThat was the sandbox: plausible values, no key, no cost. For Claude's own: claude-relay config init,"
        "\nput your ANTHROPIC_API_KEY in, then claude-relay serve and claude-relay worker."
    )


def _environment(folder: Path, key: str) -> dict[str, str]:
    """Nothing of this machine's own settings: the demo is the same everywhere."""
    kept = {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
    }

    return {
        **kept,
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
    """A webhook on this machine, and what arrives at it."""
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.put(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, name="demo-webhook", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/callback", arrived
    finally:
        server.shutdown()
        server.server_close()


def _address(folder: Path, api: subprocess.Popen[bytes]) -> str | None:
    found = re.search(r"http://127\.0\.0\.1:\d+", (folder / "serve.log").read_text(errors="replace"))
    if found is None and api.poll() is not None:
        raise RelayError(f"the API did not start:\n{_said(folder)}")

    return found.group(0) if found else None


def _submit(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    from ..client.http import HttpClient

    remote = HttpClient(url, key=key)
    try:
        return remote.submit(body)
    finally:
        remote.close()


def _between(url: str, key: str, request_id: str) -> list[tuple[str, float, str]]:
    """What the relay itself says happened between the 202 and the callback."""
    from ..client.http import HttpClient

    remote = HttpClient(url, key=key)
    try:
        record = remote.record(request_id)
    finally:
        remote.close()
    at = {EventName(event["event"]): _seconds(event["at"]) for event in record["events"]}
    began = at[EventName.SUBMITTED]
    usage = record["usage"] or {}
    tokens = f"{usage.get('input_tokens', 0)} tokens in, {usage.get('output_tokens', 0)} out"

    return [
        (
            EventName.CLAIMED.value,
            at[EventName.CLAIMED] - began,
            "by the worker, written in the ledger before the first byte",
        ),
        ("answered", at[EventName.COMPLETED] - began, f"by the sandbox ({record['model']}), {tokens}"),
    ]


def _seconds(text: str) -> float:
    from ...core.intake.times import rfc_3339

    return rfc_3339(text)


def _took(arrived: queue.SimpleQueue[bytes]) -> bytes | None:
    try:
        return arrived.get(timeout=0.2)
    except queue.Empty:
        return None


def _until(condition: Callable[[], T | None], *, within: float, what: str, folder: Path) -> T:
    give_up = time.monotonic() + within
    while (answer := condition()) is None:
        if time.monotonic() > give_up:
            raise TimedOut(f"waited {within:.0f} s for {what}. The logs say:\n{_said(folder)}")
        time.sleep(0.05)

    return answer


def _said(folder: Path) -> str:
    """The last lines of both logs."""
    logs = sorted(folder.glob("*.log"))

    return "\n".join(
        f"  {log.stem}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()[-8:]
    )
