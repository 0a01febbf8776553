"""`demo`: invoices from request to webhook, with real processes and the sandbox instead of Claude."""

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
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...core.jobs.events import EventName
from ...core.lazy_dataclass import dataclass
from ...errors import RelayError, TimedOut
from ..render.output import Output, json_option, pass_output
from ..render.progress import ProgressLine

if TYPE_CHECKING:
    from ..client.http import HttpClient

T = TypeVar("T")

#: Time limits for the start of the API and for the callback, in seconds.
_START, _CALLBACK = 90.0, 90.0


@click.command()
@click.option("--single", is_flag=True, help="One invoice with 133 fields instead of a folder of 25.")
@json_option
@pass_output
def demo(output: Output, single: bool) -> None:
    """
    Run the whole path without a key or cost: a folder of invoices in, checked values out to a webhook.

    Two of the 25 are wrong on paper, and their checks fail; two are misread at first, and repaired.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claude-relay-demo-")))
        hook, callbacks = stack.enter_context(_receiver())
        key = secrets.token_urlsafe(24)
        env = _environment(folder, key)
        output.message("Starting the API and a worker, with the sandbox instead of Claude …")
        api, _ = (stack.enter_context(_daemon(verb, env, folder)) for verb in ("serve", "worker"))
        url = _wait_for(lambda: _api_url(folder, api), within=_START, event="the API to listen", folder=folder)
        client = stack.enter_context(_client(url, key))
        run = _Run(output=output, folder=folder, url=url, hook=hook, client=client, callbacks=callbacks)
        (run.single if single else run.invoices)()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A running relay with its receiver, and what is shown of it."""

    output: Output
    folder: Path
    url: str
    hook: str
    client: HttpClient
    callbacks: queue.SimpleQueue[bytes]

    def single(self) -> None:
        """One invoice: the steps of its job, and the fields of its callback."""
        from ...demo import faktura_request

        body = {**faktura_request(), "webhookUrl": self.hook}
        size = len(body["files"][0]["data"]) * 3 // 4
        self.output.message(f"POST {self.url}/api/claude  (a prompt, a schema and faktura.pdf, {size // 1024} KiB)")
        start = time.monotonic()
        accepted = self.client.submit(body)
        steps = [("accepted", time.monotonic() - start, f"202, on disk: {accepted['requestId']}")]
        callback = self._callback()
        steps.append(("delivered", time.monotonic() - start, f"POST {self.hook}, {len(callback)} bytes"))
        answer = json.loads(callback)
        steps[1:1] = _relay_steps(self.client, accepted["requestId"])
        _show(self.output, answer, steps)

    def invoices(self) -> None:
        """A folder of invoices: one collection, its progress, the results, and its one callback."""
        from ...demo import faktura_folder

        output, name, body = self.output, "fakturaer", faktura_folder()
        rows, checks = body["rows"], body["template"]["options"]["checks"]
        output.message(f"PUT  {self.url}/api/templates/faktura  (a prompt, a schema and {len(checks)} checks)")
        self.client.save_template("faktura", {"body": body["template"]})
        size = sum(len(row["file"]) for row in rows) * 3 // 4 // 1024
        output.message(f"POST {self.url}/api/collections  ({len(rows)} invoices, {size} KiB)")
        start = time.monotonic()
        self.client.tables.create({"collectionId": name, "template": "faktura", "rows": rows, "webhookUrl": self.hook})
        steps = [("accepted", time.monotonic() - start, f"202, {len(rows)} rows on disk")]
        status = self._progress(name)
        steps.append(("answered", time.monotonic() - start, "by the sandbox; every answer was checked"))
        callback = self._callback()
        steps.append(("delivered", time.monotonic() - start, f"POST {self.hook}, one callback, {len(callback)} bytes"))
        if output.json:
            output.value(json.loads(callback))
            return
        lines = b"".join(self.client.tables.results(name, {"format": "ndjson"})).splitlines()
        _show_invoices(output, [row["name"] for row in rows], [json.loads(line) for line in lines])
        _show_steps(output, steps)
        _show_callback(output, callback)
        output.message(
            f"\nThat was the sandbox: no key, no cost (with Claude: about ${status['costUsd'] or 0:.2f})."
            "\nOne invoice with 133 fields: claude-relay demo --single. With Claude itself: claude-relay config init,"
            "\nset your ANTHROPIC_API_KEY, then claude-relay serve and claude-relay worker."
        )

    def _progress(self, name: str) -> dict[str, Any]:
        """Show the progress on a terminal until every row has ended; the last status."""
        line = ProgressLine(plain=self.output.plain)

        def ended() -> dict[str, Any] | None:
            now = self.client.tables.show(name)
            line.update(now)
            return now if now["finishedAt"] else None

        try:
            return _wait_for(ended, within=_CALLBACK, event="the last row", folder=self.folder)
        finally:
            line.end()

    def _callback(self) -> bytes:
        return _wait_for(lambda: _next(self.callbacks), within=_CALLBACK, event="the callback", folder=self.folder)


def _show_invoices(output: Output, names: Sequence[str], results: Sequence[dict[str, Any]]) -> None:
    """The table of results, and a line for each check that is still false."""
    output.message("")
    output.table(
        ("ROW", "NUMBER", "SELLER", "TO PAY", "CHECKS"),
        [_invoice(result) for result in results],
    )
    failed = [
        (name, check)
        for name, result in zip(names, results, strict=True)
        for check in result.get("checks", ())
        if check["ok"] is False
    ]
    repaired = sum(result.get("attempts", 1) > 1 and not result.get("checksFailed") for result in results)
    output.message(
        f"\nMisread at first, and right once the failed check was shown: {repaired}. For a person to look at:"
    )
    for name, check in failed:
        output.message(f"  {name}: {check['name']}: {_sides(check)}")


def _invoice(result: dict[str, Any]) -> tuple[Any, ...]:
    """The row of one invoice."""
    fields = result.get("json")
    if not isinstance(fields, dict):
        return (result["row"], "", "", "", f"{result['status']}: {result.get('error')}")
    checks = [check["name"] for check in result.get("checks", ()) if check["ok"] is False]
    note = f"FAILED: {', '.join(checks)}" if checks else "passed"
    if not checks and result.get("attempts", 1) > 1:
        note = "passed, repaired"
    amount = f"{fields['belopABetale']:,.2f} {fields['valuta']}".replace(",", " ")

    return (result["row"], fields["fakturanummer"], fields["selgerNavn"], amount, note)


def _sides(check: dict[str, Any]) -> str:
    """Why a check is false."""
    if check["left"] is None:
        return f"{check['rule']} is false"

    return f"{check['left']} is not {check['right']}, the difference is {check['difference']}"


def _show_callback(output: Output, callback: bytes) -> None:
    """The head of the collection's callback; its results stand in the table."""
    body = json.loads(callback)
    results = body.pop("results", ())
    head = {key: body[key] for key in ("collectionId", "status", "generation", "total", "completed", "failed")}
    text = json.dumps(head, ensure_ascii=False)
    output.message(f'\nThe callback: {text[:-1]}, …, "results": [… {len(results)} rows]}}')


def _show_steps(output: Output, steps: Sequence[tuple[str, float, str]]) -> None:
    output.message("")
    for step, seconds, detail in steps:
        output.message(f"  {seconds:6.2f} s  {step:<11} {detail}")


def _show(output: Output, answer: dict[str, Any], steps: list[tuple[str, float, str]]) -> None:
    if answer.get("status") != "completed":
        raise RelayError(f"the demo's job failed: {answer.get('error')}")
    fields = answer["json"]
    if output.json:
        output.value(answer)
        return
    _show_steps(output, steps)
    output.message(
        f"\nThe callback's json has {len(fields)} fields. Their values come from the sandbox, not from Claude:\n"
    )
    output.table(("FIELD", "VALUE"), fields.items())
    output.message(
        "\nThat was the sandbox: no key, no cost. With Claude itself: claude-relay config init,"
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
        "RELAY_CONCURRENCY": "5",  # so that the progress can be seen
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


@contextlib.contextmanager
def _client(url: str, key: str) -> Iterator[HttpClient]:
    from ..client.http import HttpClient

    client = HttpClient(url, key=key)
    try:
        yield client
    finally:
        client.close()


def _relay_steps(client: HttpClient, request_id: str) -> list[tuple[str, float, str]]:
    """The steps between the 202 and the callback, from the record of the job."""
    record = client.record(request_id)
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
