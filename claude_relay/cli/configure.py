"""`config`: what the settings are, where they come from, and a file to begin with."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from ..errors import Conflict
from .output import Output, json_option, pass_output


@click.group()
def config() -> None:
    """The settings: show, check, init."""


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@json_option
@pass_output
def show(output: Output, origin: bool) -> None:
    """Every setting and its value; secrets are hidden."""
    from ..config import OPTIONS

    settings = output.settings
    if output.json:
        output.value(
            {row.name: {"value": settings.shown(row.name), "origin": settings.origin(row.name)} for row in OPTIONS}
        )
        return
    rows = [(row.name, settings.shown(row.name), settings.origin(row.name)) for row in OPTIONS]
    output.rows(("NAME", "VALUE", "FROM")[: 3 if origin else 2], (row[: 3 if origin else 2] for row in rows))


@config.command()
@pass_output
def check(output: Output) -> None:
    """Whether the daemons would start with these settings; exit 78 and a sentence for each fault if not."""
    settings = output.settings
    settings.require("API_SECRET_KEY", *(["ANTHROPIC_API_KEY"] if settings.provider == "anthropic" else []))
    output.say("The settings are good.")


@config.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=".env")
@pass_output
def init(output: Output, file: Path) -> None:
    """Write a commented settings file with a strong key of its own, to FILE (default .env)."""
    from ..config import OPTIONS, write_env_example

    text = write_env_example(OPTIONS).replace("API_SECRET_KEY=", f"API_SECRET_KEY={secrets.token_urlsafe(32)}", 1)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict(f"{file} is there already; it was left as it is.") from None
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    output.say(f"Written to {file}. Put your ANTHROPIC_API_KEY in, then: claude-relay config check")
