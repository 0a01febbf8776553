"""`tail`: events as they happen, or the answer of one job as it is written."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from ...core.intake.query import parse_time_or_age
from ...core.wire import timestamp
from ...errors import InvalidRequest
from ..client import RelayClient, open_client
from ..render.output import Output, json_option, pass_output
from ..render.text import TextPrinter

#: Events in one response; older ones are in the record of each job.
_MAX_EVENTS = 500
_DETAILS = ("attempt", "errorType", "error", "statusCode", "dueAt", "outputTokens", "why", "file", "size", "sha256")


@click.command()
@click.argument("request_id", metavar="[ID]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, _MAX_EVENTS),
    help="Number of past events to show first. Default: 20, or all since TIME.",
)
@click.option("--since", metavar="TIME", help="Only events since this time, day or age: 2026-11-30, 1h.")
@json_option
@pass_output
def tail(output: Output, request_id: str | None, follow: bool, lines: int | None, since: str | None) -> None:
    """Show the events of all jobs; with an ID the answer of that job as it is written."""
    with open_client(output) as client:
        if request_id is not None:
            _print_answer(output, client, request_id, follow=follow)
            return
        start = "" if since is None else timestamp(_start(since))
        count = lines if lines is not None else _MAX_EVENTS if since else 20
        events, cursor = client.events(max(count, 1))
        shown = [event for event in events if event["at"] >= start]
        if since and lines is None and len(shown) == _MAX_EVENTS:
            output.message(
                f"These are the last {_MAX_EVENTS} events; there were more since then: "
                f"claude-relay list --since {since}"
            )
        _print(output, shown[-count:] if count else [])
        for message in client.follow(None, cursor=cursor) if follow else ():
            if message.name == "job":
                _print(output, [message.data])


def _print(output: Output, events: Any) -> None:
    for event in events:
        if output.json:
            output.record(event)
            continue
        details = " ".join(f"{name}={_text(name, event[name])}" for name in _DETAILS if event.get(name) is not None)
        name = event["event"]
        if event["subject"] != "job":
            name = name.removeprefix("delivery_").removeprefix("file_")
        output.line("\t".join((event["at"], event["requestId"], event["subject"], name, details)).rstrip())


def _text(name: str, value: Any) -> str:
    return timestamp(value) if name == "dueAt" else " ".join(str(value).split())


def _print_answer(output: Output, client: RelayClient, request_id: str, *, follow: bool) -> None:
    text = TextPrinter(output)
    record = client.record(request_id)
    if follow:
        for message in client.follow(request_id):
            if message.name == "text":
                text.print(message.data)
        record = client.record(request_id)
    ended = record["status"] in ("completed", "failed")
    rest = record["partialResponse"] or ""
    if ended:
        body = json.loads(client.result(request_id) or b"{}")
        rest = body.get("response") or body.get("partialResponse") or ""
    text.print_rest(rest)
    if ended and record["status"] == "failed":
        output.message(f"The job failed ({record['errorType']}): {record['error']}")


def _start(text: str) -> float:
    try:
        return parse_time_or_age("since", text, now=time.time()) or 0.0
    except InvalidRequest as exc:
        raise click.UsageError(f"--since {exc.problems[0].problem}") from exc
