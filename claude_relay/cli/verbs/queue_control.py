"""`pause`, `drain` and `resume`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from ...core.text.durations import parse_duration
from ...errors import TimedOut
from ..client import RelayClient, open_client
from ..render.output import Output, json_option, pass_output

#: Seconds between two looks at a relay that is drained.
_INTERVAL = 0.5


@click.command()
@click.argument("group", required=False)
@json_option
@pass_output
def pause(output: Output, group: str | None) -> None:
    """Start no more jobs of GROUP, or none at all; running jobs continue."""
    _switch(output, group, lambda client: client.pause(group), "paused")


@click.command()
@click.argument("group", required=False)
@json_option
@pass_output
def resume(output: Output, group: str | None) -> None:
    """Resume GROUP, or all jobs, also after a drain or a spend limit."""
    _switch(output, group, lambda client: client.resume(group), "running")


@click.command()
@click.option("--all", "run_waiting", is_flag=True, help="Also run the jobs that wait, and wait until they have ended.")
@click.option("--timeout", metavar="TIME", help="Wait at most this long, such as 10m (exit 124); the drain goes on.")
@click.option("--no-wait", is_flag=True, help="Return at once.")
@json_option
@pass_output
def drain(output: Output, run_waiting: bool, timeout: str | None, no_wait: bool) -> None:
    """
    Accept no more jobs, and wait until the relay is idle: no call runs, and no callback is due.

    Submits get 503 with Retry-After; jobs that wait start after `claude-relay resume`, which ends the drain.
    """
    try:
        patience = None if timeout is None else parse_duration(timeout)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--timeout") from None
    with open_client(output) as client:
        client.drain(run_waiting=run_waiting)
        output.message("No new jobs are accepted. End this with: claude-relay resume")
        body = client.overview()
        if not no_wait:
            body = _wait_idle(output, client, patience)
    drain = body["drain"] or {}
    if output.json:
        output.value({**drain, "at": body["timestamp"]})
    elif drain.get("idle"):
        output.line(f"idle at {body['timestamp']}: no call runs, no callback is due, {drain['waiting']} jobs wait")


def _wait_idle(output: Output, client: RelayClient, patience: float | None) -> dict[str, Any]:
    """Wait, with a message at every change; returns the overview of the idle relay, or of one that was resumed."""
    give_up = None if patience is None else time.monotonic() + patience
    shown = ""
    while True:
        body = client.overview()
        drain = body["drain"]
        if drain is None:
            output.message("The drain was ended by someone else: claude-relay resume.")
            return body
        if drain["idle"]:
            return body
        if (progress := _progress(body, drain)) != shown:
            output.message(progress)
            shown = progress
        if give_up is not None and time.monotonic() >= give_up:
            raise TimedOut(f"Not idle yet: {progress} The drain goes on; claude-relay resume ends it.")
        time.sleep(_INTERVAL)


def _progress(body: dict[str, Any], drain: dict[str, Any]) -> str:
    text = f"{drain['running']} calls run, callbacks to {drain['destinationsDue']} destinations are due"
    if drain["runWaiting"]:
        text += f", {drain['waiting']} jobs wait"
    if not any(worker["alive"] for worker in body["workers"]):
        text += "; no worker runs, so nothing moves: start claude-relay worker"

    return f"{text}."


def _switch(output: Output, group: str | None, action: Callable[[RelayClient], None], status: str) -> None:
    with open_client(output) as client:
        action(client)
    if output.json:
        output.value({"group": group, "status": status})
    else:
        output.message(f"{'The group ' + group if group else 'The relay'} is {status}.")
