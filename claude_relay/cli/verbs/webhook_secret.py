"""`keys webhook`: rotation of the secret that signs callbacks, without a failed verification at any receiver."""

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
    """Rotate the secret that signs callbacks."""


@webhook.command()
@click.option(
    "--grace", default="24h", show_default=True, metavar="TIME", help="Minimum time for which the old secret signs too."
)
@click.option("--force", is_flag=True, help="Also within the grace period of the last rotation.")
@json_option
@pass_output
def rotate(output: Output, grace: str, force: bool) -> int:
    """
    Create a new signing secret and print it.

    The old one signs too, so that receivers can switch one by one. After the last: claude-relay keys webhook finish.
    """
    seconds = _seconds(grace)
    new = encode_secret(secrets.token_bytes(32))
    location, current = _current(output, new)
    if location is None:
        return 78
    until = _grace_end(output) if len(current) > 1 else 0.0
    if not force and (until is None or until > time.time()):
        grace = "" if until is None else f", and the grace of the last rotation lasts until {timestamp(until)}"
        raise Conflict(
            f"two secrets are set already{grace}: a receiver may still verify with the older one, which would be "
            f"removed. If none does: claude-relay keys webhook finish, or rotate --force."
        )
    both = (new, *current[:1])
    _write(location, both)
    _save_grace(output, {"at": time.time(), "until": time.time() + seconds})
    steps = [_restart()]
    if current:
        steps.append(
            f"Give the receivers the new one. Both sign until you run: claude-relay keys webhook finish "
            f"(not within {format_duration(seconds)})"
        )
    else:
        steps.append("Give it to the receivers: every callback will be signed")
    _report(output, location, both, steps, new)

    return 0


@webhook.command()
@click.option("--force", is_flag=True, help="Also within the grace period of the last rotation.")
@json_option
@pass_output
def finish(output: Output, force: bool) -> int:
    """Remove the older of two signing secrets, once every receiver has the new one."""
    location, current = _current(output, None)
    if location is None:
        return 78
    if len(current) < 2:
        raise Conflict("there is one signing secret or none: nothing to finish")
    if not force and (until := _grace_end(output)) is not None and until > time.time():
        raise Conflict(f"the grace of the last rotation lasts until {timestamp(until)}; to finish earlier: --force")
    _write(location, current[:1])
    _save_grace(output, None)
    _report(output, location, current[:1], [_restart()], None)

    return 0


def _current(output: Output, new: str | None) -> tuple[SettingLocation | None, tuple[str, ...]]:
    """
    The location of the secret and the current secrets.

    If it cannot be written, print the line to set by hand; the location is None then.
    """
    from ...config.loader import DOTENV, ETC
    from ...config.parsers import webhook_secrets
    from ...config.secret_file import find_location

    try:
        location = find_location(_NAME, os.environ, dotenv=DOTENV, etc=ETC)
    except ConfigError as exc:
        current = output.settings.webhook_secret
        secrets_to_set = (new, *current[:1]) if new else current[:1]
        if output.json:
            output.value({"written": None, "set": {_NAME: ",".join(secrets_to_set)}, "why": str(exc)})
        else:
            output.line(f"{_NAME}={','.join(secrets_to_set)}")
        output.message(f"Nothing was changed: {exc} Set the line above at the origin of {_NAME}, then: {_restart()}")
        return None, current
    try:
        return location, webhook_secrets(location.text) if location.text else ()
    except ValueError as exc:
        raise ConfigError([f"{_NAME} in {location.path} cannot be used: {exc}."]) from exc


def _write(location: SettingLocation, values: tuple[str, ...]) -> None:
    from ...config.secret_file import write_setting

    try:
        write_setting(location, ",".join(values))
    except ConfigError as exc:
        command = f"sudo {shlex.join(['claude-relay', 'keys', 'webhook', 'rotate'])}"
        raise ConfigError([f"{exc} Nothing was changed. As a user who may write it: {command}"]) from exc


def _report(
    output: Output, location: SettingLocation, values: tuple[str, ...], steps: list[str], new: str | None
) -> None:
    path = str(location.path)
    if output.json:
        report: dict[str, object] = {"written": path, "secrets": len(values), "next": steps}
        output.value({**report, "secret": new} if new else report)
        return
    if new:
        output.line(new)
    output.message(f"Written to {path}: {len(values)} secret{'s' * (len(values) > 1)}.")
    for number, step in enumerate(steps, start=1):
        output.message(f"{number}. {step}")


def _restart() -> str:
    if Path("/run/systemd/system").is_dir():
        return "systemctl reload claude-relay-worker   (running calls go on)"

    return "send SIGHUP to claude-relay worker if the secret is in a file of its own; otherwise restart it and serve"


def _grace_end(output: Output) -> float | None:
    """The end of the grace period of the last rotation; None if it is not recorded."""
    from ...wiring import open_relay

    try:
        with open_relay(output.settings) as relay:
            memo = relay.queries.shared_value(_MEMO)
    except RelayError:
        return None  # no store yet, so no receiver depends on the older secret

    return memo.get("until") if isinstance(memo, dict) else None


def _save_grace(output: Output, memo: dict[str, float] | None) -> None:
    from ...wiring import open_relay

    try:
        with open_relay(output.settings) as relay:
            relay.maintenance.set_shared(_MEMO, memo)
    except RelayError as exc:
        output.message(f"The grace period could not be stored ({exc}): make sure yourself that it is observed.")


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.UsageError(f"--grace {exc}") from exc
