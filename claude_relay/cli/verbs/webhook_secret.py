"""`keys webhook`: the secret that signs callbacks, and how another takes its place without a receiver noticing."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...core.deliveries.signing import encode_secret
from ...core.text.durations import format_duration, parse_duration
from ...core.wire import timestamp
from ...errors import ConfigError, Conflict, RelayError
from ..render.output import Output, json_option, pass_output

if TYPE_CHECKING:
    from ...config.secret_file import SettingLocation

_NAME = "RELAY_WEBHOOK_SECRET"
_MEMO = "webhookRotation"


@click.group()
def webhook() -> None:
    """The secret that signs callbacks: rotate, finish."""


@webhook.command()
@click.option("--grace", default="24h", show_default=True, metavar="TIME", help="How long the old one signs at least.")
@click.option("--force", is_flag=True, help="Also while the grace of the last rotation lasts.")
@json_option
@pass_output
def rotate(output: Output, grace: str, force: bool) -> int:
    """
    Make a new signing secret and print it. It comes first, and the old one signs too: receivers may change over at
    leisure. Then: claude-relay keys webhook finish.
    """
    seconds = _seconds(grace)
    fresh = encode_secret(secrets.token_bytes(32))
    place, known = _kept(output, fresh)
    if place is None:
        return 78
    until = _grace_ends(output) if len(known) > 1 else 0.0
    if not force and (until is None or until > time.time()):
        grace_ends = "" if until is None else f" within the grace of the last rotation, until {timestamp(until)}"
        raise Conflict(
            f"two secrets are set already{grace_ends}: receivers may still check by the older one alone, and it would "
            f"go. Where none does: claude-relay keys webhook finish, or rotate --force."
        )
    both = (fresh, *known[:1])
    _put(place, both)
    _remember(output, {"at": time.time(), "until": time.time() + seconds})
    steps = [_restart(place)]
    if known:
        steps.append(
            f"Give the receivers the new one. Both sign until you say: claude-relay keys webhook finish "
            f"(not within {format_duration(seconds)})"
        )
    else:
        steps.append("Give it to the receivers: every callback is signed from then on")
    _told(output, place, both, steps, fresh)

    return 0


@webhook.command()
@click.option("--force", is_flag=True, help="Also while the grace of the last rotation lasts.")
@json_option
@pass_output
def finish(output: Output, force: bool) -> int:
    """Let the older of two signing secrets go, once every receiver has the new one."""
    place, known = _kept(output, None)
    if place is None:
        return 78
    if len(known) < 2:
        raise Conflict("there is one signing secret or none: nothing to finish")
    if not force and (until := _grace_ends(output)) is not None and until > time.time():
        raise Conflict(f"the grace of the last rotation lasts until {timestamp(until)}; sooner with --force")
    _put(place, known[:1])
    _remember(output, None)
    _told(output, place, known[:1], [_restart(place)], None)

    return 0


def _kept(output: Output, fresh: str | None) -> tuple[SettingLocation | None, tuple[str, ...]]:
    """Where the secret is kept, and those that are; where that cannot be written, what to do by hand, and None."""
    from ...config.loader import DOTENV, ETC
    from ...config.parsers import webhook_secrets
    from ...config.secret_file import find_place

    try:
        place = find_place(_NAME, os.environ, dotenv=DOTENV, etc=ETC)
    except ConfigError as exc:
        known = output.settings.webhook_secret
        wanted = (fresh, *known[:1]) if fresh else known[:1]
        if output.json:
            output.value({"written": None, "set": {_NAME: ",".join(wanted)}, "why": str(exc)})
        else:
            output.line(f"{_NAME}={','.join(wanted)}")
        output.message(f"Nothing was changed: {exc} Set the line above where {_NAME} comes from, then: {_restart()}")
        return None, known
    try:
        return place, webhook_secrets(place.text) if place.text else ()
    except ValueError as exc:
        raise ConfigError([f"{_NAME} in {place.path} cannot be used: {exc}."]) from exc


def _put(place: SettingLocation, values: tuple[str, ...]) -> None:
    from ...config.secret_file import write_setting

    try:
        write_setting(place, ",".join(values))
    except ConfigError as exc:
        command = f"sudo {shlex.join(['claude-relay', 'keys', 'webhook', 'rotate'])}"
        raise ConfigError([f"{exc} Nothing was changed. As one who may write it: {command}"]) from exc


def _told(output: Output, place: SettingLocation, values: tuple[str, ...], steps: list[str], fresh: str | None) -> None:
    path = str(place.path)
    if output.json:
        told: dict[str, object] = {"written": path, "secrets": len(values), "next": steps}
        output.value({**told, "secret": fresh} if fresh else told)
        return
    if fresh:
        output.line(fresh)
    output.message(f"Written to {path}: {len(values)} secret{'s' * (len(values) > 1)}.")
    for number, step in enumerate(steps, start=1):
        output.message(f"{number}. {step}")


def _restart(place: SettingLocation | None = None) -> str:
    if Path("/run/systemd/system").is_dir():
        if place is not None and place.name is None and place.path.parent.name == "credentials":
            # systemd hands credentials over when a unit starts, and not at a reload.
            return "systemctl restart claude-relay-worker   (its calls are brought home first)"
        return "systemctl restart claude-relay-worker   (it brings its calls home first)"

    return "start claude-relay worker anew; it brings its calls home first (and serve, for its alerts)"


def _grace_ends(output: Output) -> float | None:
    """Until when the older secret was promised to sign; None where nothing is known of it."""
    from ...wiring import open_relay

    try:
        with open_relay(output.settings) as relay:
            told = relay.queries.shared_value(_MEMO)
    except RelayError:
        return None  # no store yet, so there are no receivers to keep it from

    return told.get("until") if isinstance(told, dict) else None


def _remember(output: Output, told: dict[str, float] | None) -> None:
    from ...wiring import open_relay

    try:
        with open_relay(output.settings) as relay:
            relay.maintenance.set_shared(_MEMO, told)
    except RelayError as exc:
        output.message(f"The grace could not be noted ({exc}): mind it yourself.")


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.UsageError(f"--grace {exc}") from exc
