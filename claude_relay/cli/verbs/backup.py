"""`backup` and `restore`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ...errors import ConfigError, Conflict
from ..output_files import check_writable
from ..render.output import Output, pass_output

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@pass_output
def backup(output: Output, file: Path) -> None:
    """Copy the store to FILE, consistently, while everything runs. For PostgreSQL: print the server's own commands."""
    from ...wiring import engine_of, open_relay

    _require_local(output)
    engine = engine_of(output.settings)
    engine.check_backups(file.absolute())
    check_writable(file.absolute(), field="FILE")
    with open_relay(output.settings) as relay:
        engine.backup(relay, file.absolute())
        relay.maintenance.set_shared("backup", {"at": time.time(), "file": str(file.absolute())})
    output.message(f"Written to {file} ({file.stat().st_size // 1024} KiB).")
    if (key := engine.key_file) is not None and key.exists():
        output.message(
            f"The webhookHeaders in it are encrypted. To restore it on another machine keep {key} too, elsewhere."
        )


@click.command()
@click.argument("file", type=_FILE)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_output
def restore(output: Output, file: Path, yes: bool) -> None:
    """Replace the store with the backup FILE. The daemons must be stopped; the old store is kept beside it."""
    from ...wiring import engine_of

    _require_local(output)
    engine = engine_of(output.settings)
    engine.check_backups(file.absolute(), restoring=True)
    path = output.settings.store_shown
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"This replaces {path}: without a terminal, confirm it with --yes.")
        click.confirm(f"Replace {path} with {file}?", abort=True, err=True)
    try:
        previous = engine.restore(file.absolute())
    except Conflict as exc:
        from ..doctor.system import STOP

        raise Conflict(f"{exc}: {STOP}") from None
    if previous is not None:
        output.message(f"The previous store is kept as {previous}.")
    for found, fix in engine.restore_problems():
        output.message(f"Warning: {found}. To do: {fix}.")
    output.message("Restored. Jobs that ran during the backup are handled by their onInterrupt: start the daemons.")


def _require_local(output: Output) -> None:
    if output.settings.url:
        raise ConfigError(["Backups are made on the relay's own machine: run this there, without --url or RELAY_URL."])
