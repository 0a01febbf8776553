"""`config`: what the settings are, where they come from, and files to begin with."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from pathlib import Path

import click

from ...errors import Conflict
from ..render.output import Output, json_option, pass_output

_GROUP = "claude-relay"
_ETC = Path("/etc/claude-relay")


@click.group()
def config() -> None:
    """The settings: show, check, init."""


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@json_option
@pass_output
def show(output: Output, origin: bool) -> None:
    """Every setting and its value; secrets are hidden."""
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
@click.option("--no-keys", is_flag=True, help="Do not ask for the keys: under systemd the daemons alone have them.")
@pass_output
def check(output: Output, no_keys: bool) -> None:
    """Whether the daemons would start with these settings; exit 78 and a sentence for each fault if not."""
    from ...config import load_prices
    from ...wiring import check_store

    output.all_keys = not no_keys
    settings = output.settings
    if not no_keys:
        needed = ["API_SECRET_KEY", *(["ANTHROPIC_API_KEY"] if settings.provider == "anthropic" else [])]
        settings.require(*(name for name in needed if not _handed_over(name)))
    check_store(settings)
    load_prices(settings.prices)
    output.message("The settings are good.")


@config.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--system", is_flag=True, help="A server's: settings in a file, each secret in one of its own for systemd."
)
@pass_output
def init(output: Output, path: Path | None, system: bool) -> None:
    """
    Write a commented settings file with strong keys of its own to PATH (default .env).

    With --system PATH is a folder (default /etc/claude-relay): claude-relay.env without a secret in it, and
    credentials/ with a file for each, which systemd hands to the one daemon that needs it. What is there already is
    left as it is.
    """
    if system:
        _for_a_server(output, path or _ETC)
        return
    file = path or Path(".env")
    if not _write(file, _settings(with_secrets=True), mode=0o600):
        raise Conflict(f"{file} is there already; it was left as it is. Another place: claude-relay config init PATH.")
    output.message(f"Written to {file}. Put your ANTHROPIC_API_KEY in, then: claude-relay config check")


def _handed_over(name: str) -> bool:
    """Whether systemd hands that secret to its daemon: it need not be, and mostly is not, ours to read."""
    try:
        return (_ETC / "credentials" / name).stat().st_size > 0
    except PermissionError:
        return True  # root alone can tell; claude-relay doctor does
    except OSError:
        return False


def _for_a_server(output: Output, folder: Path) -> None:
    credentials = folder / "credentials"
    for each in (folder, credentials):
        each.mkdir(mode=0o750, parents=True, exist_ok=True)
        _give_to_group(each)
    files = {
        folder / "claude-relay.env": (_settings(with_secrets=False), 0o640),
        credentials / "API_SECRET_KEY": (_api_key() + "\n", 0o600),
        credentials / "RELAY_WEBHOOK_SECRET": (_webhook_secret() + "\n", 0o600),
        credentials / "ANTHROPIC_API_KEY": ("", 0o600),
    }
    for file, (text, mode) in files.items():
        made = _write(file, text, mode=mode)
        if made and mode & 0o040:
            _give_to_group(file)
        output.message(f"{file}: {'written' if made else 'is there already; left as it is'}")
    key = credentials / "ANTHROPIC_API_KEY"
    if not key.stat().st_size:
        output.message(f"Now your Anthropic key: sudo tee {key} >/dev/null   (paste it, Enter, Ctrl-D)")


def _settings(*, with_secrets: bool) -> str:
    """`.env.example`, with keys in it; or without any, and with what else a server wants."""
    from ...config import OPTIONS, write_env_example

    if with_secrets:
        text = write_env_example(OPTIONS)
        for name, value in (("API_SECRET_KEY", _api_key()), ("RELAY_WEBHOOK_SECRET", _webhook_secret())):
            text = text.replace(f"\n#{name}=", f"\n{name}=").replace(f"\n{name}=", f"\n{name}={value}", 1)
        return text
    text = write_env_example([row for row in OPTIONS if not row.secret])
    head = (
        "# claude-relay's settings on this machine; what is commented out has its default. After a change:\n"
        "#   claude-relay config check && systemctl restart claude-relay-api && systemctl reload claude-relay-worker\n"
        "# The secrets are not here: each has a file of its own in credentials/, which only root can read. systemd\n"
        "# hands ANTHROPIC_API_KEY to the worker alone and API_SECRET_KEY to the API alone.\n"
        "# PostgreSQL as the store: make install POSTGRES=socket (on this machine) or =tcp, and RELAY_STORE here;\n"
        "# with a password in it better in credentials/RELAY_STORE, and the path of that as RELAY_STORE_FILE here.\n"
        "# Durations are 90s 5m 2h 1d, sizes 512KiB 4MiB, rates 100/15m, lists have commas between.\n"
    )
    text = head + text[text.index("\n# ---") :]

    return text.replace("\n#RELAY_ENV=development", "\nRELAY_ENV=production")


def _api_key() -> str:
    return secrets.token_urlsafe(32)


def _webhook_secret() -> str:
    """As the Standard Webhooks scheme writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _write(file: Path, text: str, *, mode: int) -> bool:
    """Make the file with that mode from its first byte on; False where there is one."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(handle, mode)  # whatever the umask took
        out.write(text)

    return True


def _give_to_group(path: Path) -> None:
    """Operators are in that group; a machine without it has none."""
    if os.geteuid() == 0:
        try:
            shutil.chown(path, group=_GROUP)
        except LookupError:
            return
