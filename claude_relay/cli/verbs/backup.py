"""`backup` and `restore`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ...errors import ConfigError
from ..render.output import Output, pass_output

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@pass_output
def backup(output: Output, file: Path) -> None:
    """Copy the store to FILE, whole and consistent, while everything runs. Of a server's: name its own commands."""
    from ...wiring import engine_of, open_relay

    _here(output)
    engine = engine_of(output.settings)
    engine.check_backups(file.absolute())
    with open_relay(output.settings) as relay:
        engine.backup(relay, file.absolute())
        relay.maintenance.set_shared("backup", {"at": time.time(), "file": str(file.absolute())})
    output.message(f"Written to {file} ({file.stat().st_size // 1024} KiB).")
    if (key := engine.key_file) is not None and key.exists():
        output.message(f"webhookHeaders in it are sealed. To restore it on another machine keep {key} too, elsewhere.")


@click.command()
@click.argument("file", type=_FILE)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_output
def restore(output: Output, file: Path, yes: bool) -> None:
    """Put the backup FILE in the store's place. The daemons must be stopped; the old store is kept beside it."""
    from ...wiring import engine_of

    _here(output)
    engine = engine_of(output.settings)
    engine.check_backups(file.absolute())
    path = output.settings.store_shown
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"It takes the place of {path}: say --yes where nobody can be asked.")
        click.confirm(f"Put {file} in the place of {path}?", abort=True, err=True)
    aside = engine.restore(file.absolute())
    if aside is not None:
        output.message(f"The store that was there is kept as {aside}.")
    output.message("Restored. What ran when the backup was made goes the way of its onInterrupt: start the daemons.")


def _here(output: Output) -> None:
    if output.settings.url:
        raise ConfigError(["Backups are made on the relay's own machine: run this there, without --url or RELAY_URL."])
