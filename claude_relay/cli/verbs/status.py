"""`status`: the status of jobs, or an overview of the relay."""

from __future__ import annotations

import time
from typing import Any

import click

from ... import __version__
from ..client import RelayClient, open_client
from ..render.output import Output, json_option, pass_output

_REFRESH = 2.0  # seconds


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print nothing; report by the exit code: 0 done, 5 failed, 75 not finished, 6 not delivered.",
)
@json_option
@pass_output
def status(output: Output, ids: tuple[str, ...], watch: bool, quiet: bool) -> int:
    """
    Show the status of jobs; without an ID an overview of the relay.

    Exit 5 if one of the jobs has failed.
    """
    with open_client(output, reading=True) as client:
        while True:
            code = _show(output, client, ids, quiet=quiet)
            if not watch:
                return code
            time.sleep(_REFRESH)
            if output.terminal and not output.json:
                click.clear()


def _show(output: Output, client: RelayClient, ids: tuple[str, ...], *, quiet: bool) -> int:
    if not ids:
        if not quiet:
            _show_overview(output, client.overview())
        return 0
    bodies = [client.status(request_id) for request_id in ids]
    if not quiet:
        for body in bodies:
            output.value(body) if output.json else _show_job(output, body)

    codes = [_exit_code(body) for body in bodies]
    return next((code for code in (5, 75, 6) if code in codes and (quiet or code == 5)), 0)


def _exit_code(body: dict[str, Any]) -> int:
    """The exit code of one job for `--quiet`: failed, not finished, not delivered, or done."""
    if body["status"] == "failed":
        return 5
    if body["status"] != "completed":
        return 75

    return 6 if body["delivery"]["status"] == "dead" else 0


def _show_job(output: Output, body: dict[str, Any]) -> None:
    delivery, usage = body["delivery"], body["usage"] or {}
    rows = [
        ("requestId", body["requestId"]),
        ("status", body["status"]),
        ("waitingFor", body["waitingFor"]),
        ("error", f"{body['errorType']}: {body['error']}" if body["errorType"] else None),
        ("model", body["model"]),
        ("group", body["group"]),
        ("attempts", body["attempts"]),
        ("created", body["createdAt"]),
        ("updated", body["updatedAt"]),
        ("tokens", f"{usage.get('input_tokens', 0)} in, {usage.get('output_tokens', 0)} out" if usage else None),
        ("costUsd", body["costUsd"]),
        ("delivery", _delivery(delivery)),
        ("acked", body["acked"]),
    ]
    output.table(("", ""), [(name, value) for name, value in rows if value is not None])


def _delivery(delivery: dict[str, Any]) -> str:
    text = str(delivery["status"])
    if delivery["attempts"]:
        text += f", {delivery['attempts']} attempts, last answer {delivery['lastStatusCode'] or 'none'}"
    if delivery["nextAttemptAt"]:
        text += f", next {delivery['nextAttemptAt']}"
    if delivery.get("waitingFor"):
        text += f", {delivery['waitingFor']}"

    return text


def _show_overview(output: Output, body: dict[str, Any]) -> None:
    if output.json:
        output.value(body)
        return
    jobs, deliveries = body["jobs"], body["deliveries"]
    alive = [worker for worker in body["workers"] if worker["alive"]]
    oldest, unacked = body["oldestWaitingSeconds"], body.get("unacked", 0)
    rows = [
        ("claude-relay", __version__, _source(output)),
        ("waiting", jobs["queued"], "" if oldest is None else f"the oldest for {_age(oldest)}"),
        ("held", jobs["held"], "claude-relay retry ID runs one again" if jobs["held"] else ""),
        ("running", jobs["running"], _orphans(jobs["running"], alive)),
        ("in batches", jobs["batched"], f"batches: {sum(body['batches'].values())}" if jobs["batched"] else ""),
        ("completed", jobs["completed"], ""),
        (
            "failed",
            jobs["failed"] + jobs["cancelled"],
            f"{jobs['cancelled']} of them cancelled" if jobs["cancelled"] else "",
        ),
        ("to deliver", deliveries["pending"] + deliveries["sending"], ""),
        ("delivered", deliveries["delivered"], ""),
        ("not applied", unacked, "claude-relay list --unacked" if unacked else ""),
        ("dead", deliveries["dead"], "claude-relay list --dead" if deliveries["dead"] else ""),
        ("workers", len(alive), "" if alive else "none: jobs wait. Start claude-relay worker"),
    ]
    rows += [("worker", worker["id"], f"{worker['running']} of {worker['slots']} slots busy") for worker in alive]
    if drain := body.get("drain"):
        busy = f"{drain['running']} calls run, callbacks to {drain['destinationsDue']} destinations are due"
        rows.append(("drain", "idle" if drain["idle"] else "not idle yet", f"{busy}; claude-relay resume ends it"))
    rows += [("stopped", hold["scope"], _hold(hold)) for hold in body["holds"]]
    rows += [(each["state"], each["destination"], _destination(each)) for each in body.get("destinations", ())]
    rows += [("group", group["group"], _group(group)) for group in body.get("groups", ())]
    if (space := _disk_space(output)) is not None:
        rows.append(("disk", space, ""))
    output.table(("", "", ""), rows)


def _hold(hold: dict[str, Any]) -> str:
    until = f" until {hold['until']}" if hold["until"] else ""

    return f"{hold['reason']}{until}{': ' + hold['detail'] if hold.get('detail') else ''}"


def _orphans(running: int, alive: list[dict[str, Any]]) -> str:
    """A note about running jobs whose worker has ended."""
    orphans = running - sum(worker["running"] for worker in alive)

    return f"{orphans} of them at a worker that has ended: taken back when their lease expires" if orphans > 0 else ""


def _source(output: Output) -> str:
    """The URL or the store of the relay, and the time."""
    settings = output.settings

    return f"{settings.url or settings.store_shown}, {time.strftime('%H:%M:%S UTC', time.gmtime())}"


def _age(seconds: float) -> str:
    """A duration in its two largest units."""
    for size, unit, lesser_size, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // lesser_size:.0f} {lesser}"

    return f"{seconds:.0f} s"


def _destination(destination: dict[str, Any]) -> str:
    if destination["state"] != "slowed":
        return f"{destination['waiting']} wait; it answers again"
    failures, since = destination["failures"], destination["since"]

    return f"{destination['waiting']} wait; {failures} failures since {since}: {destination['lastError']}"


def _group(group: dict[str, Any]) -> str:
    text = str(group["running"]) if group["concurrency"] is None else f"{group['running']} of {group['concurrency']}"
    text += " run"
    if group["rate"] is not None:
        text += f", {group['rate']:g} a minute"
    if group["paused"]:
        text += f", paused: claude-relay resume {group['group']}"

    return text


def _disk_space(output: Output) -> str | None:
    """Free space for the store of this machine; None for a remote relay."""
    import shutil

    from ...wiring import engine_of

    settings = output.settings
    if settings.url or (file := engine_of(settings).file) is None:
        return None
    try:
        usage = shutil.disk_usage(file.parent)
    except OSError:
        return None

    return f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free"
