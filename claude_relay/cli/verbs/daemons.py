"""The daemons, in the foreground, for a supervisor; and what prepares or tidies their store."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
from typing import TYPE_CHECKING

import click

from ..render.output import Output, json_option, pass_output

if TYPE_CHECKING:
    from ...config import Settings
    from ...systemd import Supervisor


@click.command()
@click.option(
    "--with-worker", is_flag=True, help="Keep a worker beside it, both restarted when they end: one container."
)
@pass_output
def serve(output: Output, with_worker: bool) -> int:
    """Run the API in the foreground."""
    from ... import failpoints, logs, wiring
    from ...systemd import Supervisor

    above = Supervisor.from_environment(os.environ)  # first of all: it may go on in a child
    failpoints.arm(os.environ)
    faulthandler.enable()  # a watchdog's SIGABRT leaves every thread's place in the log

    if with_worker:
        from ..supervise import supervise

        logs.setup(output.settings, "claude-relay")
        output.settings.require("API_SECRET_KEY", *_upstream_key(output))
        above.ready("the API and a worker are kept")
        os.environ.pop("NOTIFY_SOCKET", None)  # the two do not speak for this process
        return supervise()
    logs.setup(output.settings, "claude-relay-api")
    _say_what_stays(output, above)

    return wiring.serve(output.settings, above)


@click.command()
@click.option("--name", metavar="NAME", help="What this worker is called: there is one of a name at a time.")
@pass_output
def worker(output: Output, name: str | None) -> int:
    """Run a worker in the foreground: it makes the calls and delivers the answers."""
    from ... import failpoints, logs, wiring
    from ...systemd import Supervisor

    above = Supervisor.from_environment(os.environ)  # first of all: it may go on in a child
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise click.BadParameter("write up to 64 letters, digits, dots, dashes or underscores", param_hint="--name")
    failpoints.arm(os.environ)
    faulthandler.enable()  # a watchdog's SIGABRT leaves every thread's place in the log
    logs.setup(output.settings, "claude-relay-worker")
    _say_what_stays(output, above)

    return wiring.work(output.settings, above, name)


@click.command()
@pass_output
def alerts(output: Output) -> None:
    """Look once for what needs a person, and tell RELAY_ALERT_URL what is due. Daemons with a network do so anyway."""
    from ... import logs, wiring

    logs.setup(output.settings, "claude-relay-alerts")
    told = wiring.send_alerts(output.settings)
    if output.settings.alert_url is None:
        output.message("RELAY_ALERT_URL is not set: what needs a person stands in the log alone.")
    else:
        output.message(f"Alerts told: {told}.")


@click.command()
@click.option("--check", is_flag=True, help="Only say whether this version can use the store; nothing is changed.")
@pass_output
def migrate(output: Output, check: bool) -> None:
    """Create the store, or bring it to the present schema. Exit 78 if it is of a newer version."""
    from ...wiring import open_relay

    if check:
        output.message(_fit(output.settings))
        return
    with open_relay(output.settings, create=True):
        output.message(f"The store {output.settings.store_shown} is ready.")


@click.command()
@json_option
@pass_output
def purge(output: Output) -> None:
    """Erase what is past its retention now, rather than within the hour."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        erased = relay.maintenance.purge()
    if output.json:
        output.value({"purged": erased})
    else:
        output.message(f"{erased} jobs erased.")


def _fit(settings: Settings) -> str:
    """Whether this version can use the store; a newer version's is refused. Nothing is changed, and none is made."""
    from ...storage import migrate
    from ...wiring import engine_of

    where, engine = settings.store_shown, engine_of(settings)
    have = engine.schema()
    if have is None:
        return f"There is no store at {where} yet, or none that can be read."
    if todo := migrate.missing(engine.name, have, where=where):
        return f"The store {where} is brought from schema {have} to {todo[-1].number} at the next start."

    return f"The store {where} fits."


def _say_what_stays(output: Output, above: Supervisor) -> None:
    """A reload reads everything anew but what systemd laid down: that is as it was when the service started."""
    from ...config.sources import CREDENTIAL

    if above.follows and (kept := [name for name, one in output.settings.given.items() if one.origin == CREDENTIAL]):
        told = "settings read anew; systemd's credentials are those of the service's start, others need a restart"
        logging.getLogger(__name__).info(told, extra={"credentials": kept})


def _upstream_key(output: Output) -> list[str]:
    return ["ANTHROPIC_API_KEY"] if output.settings.provider == "anthropic" else []
