"""`status`: where jobs stand, or the whole relay on one screen."""

from __future__ import annotations

import shutil
import time
from typing import Any

import click

from ... import __version__
from ..client import RelayClient, open_client
from ..render.output import Output, json_option, pass_output


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--watch", is_flag=True, help="Keep it live, until Ctrl-C.")
@click.option(
    "-q", "--quiet", is_flag=True, help="The exit code alone: 0 done, 5 failed, 75 not finished, 6 not delivered."
)
@json_option
@pass_output
def status(output: Output, ids: tuple[str, ...], watch: bool, quiet: bool) -> int:
    """Where jobs stand; without an ID the whole relay. Exit 5 if one of them has failed."""
    with open_client(output) as desk:
        while True:
            code = _show(output, desk, ids, quiet=quiet)
            if not watch:
                return code
            time.sleep(2)
            if output.terminal and not output.json:
                click.clear()


def _show(output: Output, desk: RelayClient, ids: tuple[str, ...], *, quiet: bool) -> int:
    if not ids:
        if not quiet:
            _whole(output, desk.overview())
        return 0
    bodies = [desk.status(request_id) for request_id in ids]
    if not quiet:
        for body in bodies:
            output.value(body) if output.json else _one(output, body)

    codes = [_code(body) for body in bodies]
    return next((code for code in (5, 75, 6) if code in codes and (quiet or code == 5)), 0)


def _code(body: dict[str, Any]) -> int:
    """What a script wants to know of one job: failed, not finished, not delivered, or done."""
    if body["status"] == "failed":
        return 5
    if body["status"] != "completed":
        return 75

    return 6 if body["delivery"]["status"] == "dead" else 0


def _one(output: Output, body: dict[str, Any]) -> None:
    delivery, usage = body["delivery"], body["usage"] or {}
    told = [
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
    output.table(("", ""), [(name, value) for name, value in told if value is not None])


def _delivery(delivery: dict[str, Any]) -> str:
    told = delivery["status"]
    if delivery["attempts"]:
        told += f", {delivery['attempts']} attempts, last answer {delivery['lastStatusCode'] or 'none'}"
    if delivery["nextAttemptAt"]:
        told += f", next {delivery['nextAttemptAt']}"
    if delivery.get("waitingFor"):
        told += f", {delivery['waitingFor']}"

    return told


def _batches(body: dict[str, Any]) -> int:
    return sum(body["batches"].values())


def _where(output: Output) -> str:
    """Whose state it is, and when it was that."""
    settings = output.settings

    return f"{settings.url or settings.store_shown}, {time.strftime('%H:%M:%S UTC', time.gmtime())}"


def _age(seconds: float) -> str:
    """Two units at most: nobody counts in seconds after an hour."""
    for size, unit, lesser_size, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // lesser_size:.0f} {lesser}"

    return f"{seconds:.0f} s"


def _group(one: dict[str, Any]) -> str:
    told = f"{one['running']} run" if one["concurrency"] is None else f"{one['running']} of {one['concurrency']} run"
    if one["rate"] is not None:
        told += f", {one['rate']:g} a minute"
    if one["paused"]:
        told += f", paused: claude-relay resume {one['group']}"

    return told


def _room(output: Output) -> str | None:
    """What is free under this machine's store; nothing of a relay elsewhere."""
    settings = output.settings
    from ...wiring import engine_of

    if settings.url or (file := engine_of(settings).file) is None:
        return None
    try:
        usage = shutil.disk_usage(file.parent)
    except OSError:
        return None

    return f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free"


def _whole(output: Output, body: dict[str, Any]) -> None:
    if output.json:
        output.value(body)
        return
    jobs, deliveries = body["jobs"], body["deliveries"]
    alive = [worker for worker in body["workers"] if worker["alive"]]
    oldest, unacked = body["oldestWaitingSeconds"], body.get("unacked", 0)
    rows = [
        ("claude-relay", __version__, _where(output)),
        ("waiting", jobs["queued"], "" if oldest is None else f"the oldest for {_age(oldest)}"),
        ("held", jobs["held"], "claude-relay retry ID lets one go on" if jobs["held"] else ""),
        ("running", jobs["running"], ""),
        ("in batches", jobs["batched"], f"batches: {_batches(body)}" if jobs["batched"] else ""),
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
    rows += [
        ("stopped", hold["scope"], hold["reason"] + (f" until {hold['until']}" if hold["until"] else ""))
        for hold in body["holds"]
    ]
    rows += [
        (
            one["state"],
            one["destination"],
            f"{one['waiting']} wait; {one['failures']} failures since {one['since']}: {one['lastError']}"
            if one["state"] == "slowed"
            else f"{one['waiting']} wait; it answers again",
        )
        for one in body.get("destinations", ())
    ]
    rows += [("group", one["group"], _group(one)) for one in body.get("groups", ())]
    if (room := _room(output)) is not None:
        rows.append(("disk", room, ""))
    output.table(("", "", ""), rows)
