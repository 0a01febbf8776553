"""`result` and `wait`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from ...core.text.durations import parse_duration
from ..client import open_client
from ..output_files import write_file
from ..render.output import Output, json_option, pass_output
from ..render.result import code_block, print_answer
from ..render.waiting import WaitingNotice


@click.command()
@click.argument("request_id", metavar="ID")
@click.option(
    "-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the answer to a file."
)
@click.option("-x", "--extract", is_flag=True, help="Print only the first code block.")
@json_option
@pass_output
def result(output: Output, request_id: str, file: Path | None, extract: bool) -> int:
    """
    Print the answer; with --json the body of the callback.

    Exit 5 if the job failed, 75 if it has not ended yet.
    """
    with open_client(output, reading=True) as client:
        raw = client.result(request_id)
        if raw is None:
            status = client.status(request_id)
            output.message(f"Job {request_id} is {status['status']}: claude-relay wait {request_id}")
            return 75
    body = json.loads(raw)
    if file is not None and body.get("status") == "completed":
        text = body["response"]
        content = raw if output.json else (code_block(text) if extract else text).encode()
        write_file(file, [content], field="--output")
        output.message(f"Written to {file}.")
        return 0
    if output.json:
        output.json_text(raw.decode())
        return 0 if body.get("status") == "completed" else 5

    return print_answer(output, body, narrow=code_block if extract else None)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--for",
    "goal",
    type=click.Choice(("finished", "delivered", "acked")),
    default="finished",
    show_default=True,
    help="What to wait for.",
)
@click.option("--timeout", default="30m", show_default=True, help="Maximum time to wait, such as 90s or 2h.")
@json_option
@pass_output
def wait(output: Output, ids: tuple[str, ...], goal: str, timeout: str) -> int:
    """Wait for jobs. Exit 5 if a job failed, 6 if a delivery is dead, 124 after the timeout."""
    try:
        give_up = time.monotonic() + parse_duration(timeout)
    except ValueError as exc:
        raise click.UsageError(f"--timeout {exc}") from exc
    worst = 0
    with open_client(output) as client:
        notice = WaitingNotice(output, client)
        for request_id in ids:
            if notice.wait_for_start(request_id, give_up)["status"] == "processing":
                for _ in client.follow(request_id, until=give_up):
                    pass  # up to the end of its run
            while (code := _exit_code(status := client.status(request_id), goal)) is None:
                notice.look(status)
                if time.monotonic() >= give_up:
                    output.message(f"Job {request_id} is not {goal} yet; it continues.")
                    return 124
                time.sleep(0.1)
            worst = max(worst, code)
            if output.json:
                output.record(status)
            else:
                output.line(f"{request_id}\t{status['status']}\t{status['delivery']['status']}")

    return worst


def _exit_code(status: dict[str, Any], goal: str) -> int | None:
    """The exit code once the goal is reached or cannot be reached any more; None until then."""
    if status["status"] not in ("completed", "failed"):
        return None
    failed = 5 if status["status"] == "failed" else 0
    delivery = status["delivery"]["status"]
    if goal == "finished" or (goal == "acked" and status["acked"] is not None):
        return failed
    if delivery == "dead":
        return 6
    if goal == "acked":
        return None  # also without a webhook: the result holds the ackUrl

    return failed if delivery in ("delivered", "none") else None
