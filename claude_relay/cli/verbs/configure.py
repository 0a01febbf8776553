"""`config`: show and check the settings, and write initial settings files."""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import ConfigError, Conflict
from ..render.output import Output, json_option, pass_output

if TYPE_CHECKING:
    from ..doctor.system import System

_GROUP = "claude-relay"
_ETC = Path("/etc/claude-relay")


@click.group()
def config() -> None:
    """Show and check the settings, or write an initial settings file."""


@config.command()
@click.option("--origin", is_flag=True, help="Show the origin of each value.")
@json_option
@pass_output
def show(output: Output, origin: bool) -> None:
    """Show every setting and its value; secrets are hidden."""
    from ...config import OPTIONS

    settings = output.settings
    if output.json:
        output.value(
            {row.name: {"value": settings.shown(row.name), "origin": settings.origin(row.name)} for row in OPTIONS}
        )
        return
    rows = [(row.name, settings.shown(row.name), settings.origin(row.name)) for row in OPTIONS]
    output.table(("NAME", "VALUE", "FROM")[: 3 if origin else 2], (row[: 3 if origin else 2] for row in rows))


@config.command()
@click.option("--no-keys", is_flag=True, help="Do not require the keys: under systemd only the daemons have them.")
@pass_output
def check(output: Output, no_keys: bool) -> None:
    """Check that the daemons would start with these settings; otherwise exit 78 with a message for each fault."""
    from ...config import load_prices
    from ...config.cautions import cautions
    from ...wiring import check_host, check_store, engine_of

    output.all_keys = not no_keys
    settings = output.settings
    if not no_keys:
        required = ["API_SECRET_KEY", *(["ANTHROPIC_API_KEY"] if settings.provider == "anthropic" else [])]
        settings.require(*(name for name in required if not _is_credential(name)))
    check_store(settings)
    load_prices(settings.prices)
    check_host(settings, os.environ, calls=True)
    check_as_daemon()
    # Not with --no-keys, as a reload has it: there the URL may be a credential that only the daemons get.
    faults = [] if no_keys else engine_of(settings).check_server()
    for sentence in (*cautions(settings), *faults):
        output.message(f"warning: {sentence}")
    output.message("The settings are good.")


@config.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--system", is_flag=True, help="Write files for a systemd install: one settings file, one file per secret."
)
@pass_output
def init(output: Output, path: Path | None, system: bool) -> None:
    """
    Write a commented settings file with new strong keys to PATH (default .env).

    With --system PATH is a folder (default /etc/claude-relay): claude-relay.env without secrets, and credentials/ with
    a file for each secret, which systemd passes to the one daemon that needs it. Existing files are not changed.
    """
    if system:
        _init_system(output, path or _ETC)
        return
    file = path or Path(".env")
    if not _create(file, _settings(with_secrets=True), mode=0o600):
        raise Conflict(
            f"{file} exists already and was not changed. To use another file: claude-relay config init PATH."
        )
    output.message(f"Written to {file}. Set ANTHROPIC_API_KEY in it, then: claude-relay config check")


def check_as_daemon(system: System | None = None) -> None:
    """Check as root what the daemons can read: they run as another user, without this environment."""
    from ...config import load
    from ...file_owner import access_fault, acting_as, closed_parent
    from ...wiring import engine_of
    from ..doctor import system as machine

    system = system or machine.System(etc=_ETC)
    file, user = system.env_file, system.daemon_user()
    if os.geteuid() != 0 or not user:
        return
    account = pwd.getpwuid(user)
    with contextlib.suppress(ConfigError):
        # Imports what reading takes, which that user may not be able to.
        engine_of(load({}, dotenv=None, etc=file, all_keys=False))

    with acting_as(account):
        try:
            if file.exists():
                file.read_bytes()
            store = engine_of(load({}, dotenv=None, etc=file, all_keys=False)).file
            fault = None if store is None else access_fault(store)
        except PermissionError as exc:
            path = closed_parent(file) or Path(exc.filename or file)
            fix = f"chgrp {_GROUP} {path} && chmod g+r{'' if path == file else 'x'} {path}"
            unreadable = f"{path} cannot be read by {account.pw_name}, the user of the daemons: {fix}"
            raise ConfigError([unreadable]) from exc
        except ConfigError as exc:
            faults = [f"For {account.pw_name}, the user of the daemons: {problem}" for problem in exc.problems]
            raise ConfigError(faults) from exc
    if fault is not None:
        raise ConfigError([": ".join(fault)])


def _is_credential(name: str) -> bool:
    """Whether systemd passes that secret to its daemon: usually only root can read it."""
    try:
        return (_ETC / "credentials" / name).stat().st_size > 0
    except PermissionError:
        return True  # only root can check it, with claude-relay doctor
    except OSError:
        return False


def _init_system(output: Output, folder: Path) -> None:
    credentials = folder / "credentials"
    for directory in (folder, credentials):
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        _give_to_group(directory)
    files = {
        folder / "claude-relay.env": (_settings(with_secrets=False), 0o640),
        credentials / "API_SECRET_KEY": (_api_key() + "\n", 0o600),
        credentials / "RELAY_WEBHOOK_SECRET": (_webhook_secret() + "\n", 0o600),
        credentials / "ANTHROPIC_API_KEY": ("", 0o600),
    }
    for file, (text, mode) in files.items():
        created = _create(file, text, mode=mode)
        if created and mode & 0o040:
            _give_to_group(file)
        output.message(f"{file}: {'written' if created else 'exists already; not changed'}")
    key = credentials / "ANTHROPIC_API_KEY"
    if not key.stat().st_size:
        output.message(f"Next, your Anthropic key: sudo tee {key} >/dev/null   (paste it, Enter, Ctrl-D)")


def _settings(*, with_secrets: bool) -> str:
    """`.env.example` with new keys; or without secrets, and with the additions for a systemd install."""
    from ...config import OPTIONS, write_env_example

    if with_secrets:
        text = write_env_example(OPTIONS)
        for name, value in (("API_SECRET_KEY", _api_key()), ("RELAY_WEBHOOK_SECRET", _webhook_secret())):
            text = text.replace(f"\n#{name}=", f"\n{name}=").replace(f"\n{name}=", f"\n{name}={value}", 1)
        return text
    text = write_env_example([row for row in OPTIONS if not row.secret])
    head = (
        "# claude-relay's settings on this machine; commented-out settings have their defaults. After a change:\n"
        "#   claude-relay config check && systemctl restart claude-relay-api && systemctl reload claude-relay-worker\n"
        "# The secrets are not here: each has its own file in credentials/, which only root can read. systemd passes\n"
        "# ANTHROPIC_API_KEY only to the worker and API_SECRET_KEY only to the API.\n"
        "# PostgreSQL as the store: make install POSTGRES=socket (on this machine) or =tcp, and RELAY_STORE here;\n"
        "# with a password in the URL better in credentials/RELAY_STORE, with its path as RELAY_STORE_FILE here.\n"
        "# Durations are 90s 5m 2h 1d, sizes 512KiB 4MiB, rates 100/15m, lists are separated by commas.\n"
    )
    text = head + text[text.index("\n# ---") :]

    return text.replace("\n#RELAY_ENV=development", "\nRELAY_ENV=production")


def _api_key() -> str:
    return secrets.token_urlsafe(32)


def _webhook_secret() -> str:
    """A secret in the format of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _create(file: Path, text: str, *, mode: int) -> bool:
    """Create the file, with that mode from its first byte on; False if it exists already."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(handle, mode)  # independent of the umask
        out.write(text)

    return True


def _give_to_group(path: Path) -> None:
    """Give the file to the group of the operators; on a machine without that group change nothing."""
    if os.geteuid() == 0:
        try:
            shutil.chown(path, group=_GROUP)
        except LookupError:
            return
