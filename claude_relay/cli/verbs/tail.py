"""`tail`: the moves as they come, or one job's text as it is written."""

from __future__ import annotations

import time
from typing import Any

import click

from ...core.text.durations import parse_duration
from ...core.wire import timestamp
from ..client import RelayClient, open_client
from ..render.output import Output, json_option, pass_output

_LOOK = 0.2
#: Moves in one answer; what lies further back is in each job's own record.
_MOST = 500
_DETAIL = ("attempt", "errorType", "error", "statusCode", "dueAt", "outputTokens", "why", "file", "size", "sha256")


@click.command()
@click.argument("request_id", metavar="[ID]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0, _MOST), help="So many to begin with. Default: 20, or all since TIME."
)
@click.option("--since", metavar="TIME", help="Only those newer than this, such as 1h.")
@json_option
@pass_output
def tail(output: Output, request_id: str | None, follow: bool, lines: int | None, since: str | None) -> None:
    """Every job's moves; with an ID that job's text as it is written."""
    with open_client(output) as desk:
        if request_id is not None:
            _text(output, desk, request_id, follow=follow)
            return
        began = "" if since is None else timestamp(time.time() - _seconds(since))
        wanted = lines if lines is not None else _MOST if since else 20
        moves, cursor = desk.events(None, max(wanted, 1))
        shown = [move for move in moves if move["at"] >= began]
        if since and lines is None and len(shown) == _MOST:
            output.message(
                f"These are the last {_MOST} moves; there were more since then: claude-relay list --since {since}"
            )
        _print(output, shown[-wanted:] if wanted else [])
        while follow:
            time.sleep(_LOOK)
            moves, cursor = desk.events(cursor, _MOST)
            _print(output, moves)


def _print(output: Output, moves: Any) -> None:
    for move in moves:
        if output.json:
            output.record(move)
            continue
        detail = " ".join(f"{name}={_shown(name, move[name])}" for name in _DETAIL if move.get(name) is not None)
        event = (
            move["event"].removeprefix("delivery_").removeprefix("file_") if move["subject"] != "job" else move["event"]
        )
        output.line("\t".join((move["at"], move["requestId"], move["subject"], event, detail)).rstrip())


def _shown(name: str, value: Any) -> str:
    return timestamp(value) if name == "dueAt" else " ".join(str(value).split())


def _text(output: Output, desk: RelayClient, request_id: str, *, follow: bool) -> None:
    shown = 0
    while True:
        record = desk.record(request_id)
        ended = record["status"] in ("completed", "failed")
        text = record["partialResponse"] or ""
        if ended:
            import json

            body = json.loads(desk.result(request_id) or b"{}")
            text = body.get("response") or body.get("partialResponse") or ""
        output.write(text[shown:])
        shown = max(shown, len(text))
        if ended or not follow:
            if text and not text.endswith("\n"):
                output.line()
            if ended and record["status"] == "failed":
                output.message(f"The job failed ({record['errorType']}): {record['error']}")
            return
        time.sleep(_LOOK)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.UsageError(f"--since {exc}") from exc
