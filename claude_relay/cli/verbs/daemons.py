"""The daemons, which run in the foreground under a supervisor, and the verbs that prepare or clean up their store."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
from typing import TYPE_CHECKING

import click

from ...errors import ConfigError
from ..render.output import Output, json_option, pass_output

if TYPE_CHECKING:
    from ...config import Settings
    from ...systemd import Supervisor


@click.command()
@click.option(
    "--with-worker", is_flag=True, help="Also run a worker; both are restarted when they end. For one container."
)
@pass_output
def serve(output: Output, with_worker: bool) -> int:
    """Run the API in the foreground."""
    from ... import failpoints, logs, wiring
    from ...systemd import Supervisor

    supervisor = Supervisor.from_environment(os.environ)  # first: it may continue in a child process
    failpoints.arm(os.environ)
    faulthandler.enable()  # the watchdog's SIGABRT then logs the stack of every thread

    if with_worker:
        from ..supervise import supervise

        logs.setup(output.settings, "claude-relay")
        output.settings.require("API_SECRET_KEY", *_upstream_key(output))
        wiring.check_host(output.settings, os.environ, calls=True)
        wiring.check_access(output.settings)
        supervisor.ready("supervising the API and a worker")
        os.environ.pop("NOTIFY_SOCKET", None)  # the two must not report in the name of this process
        return supervise()
    logs.setup(output.settings, "claude-relay-api")
    _log_cautions(output.settings)
    _log_kept_credentials(output, supervisor)

    return wiring.serve(output.settings, supervisor, lambda: _reread("claude-relay-api"))


@click.command()
@click.option("--name", metavar="NAME", help="Name of this worker; only one of a name can run at a time.")
@pass_output
def worker(output: Output, name: str | None) -> int:
    """Run a worker in the foreground: it makes the calls and delivers the answers."""
    from ... import failpoints, logs, wiring
    from ...systemd import Supervisor

    supervisor = Supervisor.from_environment(os.environ)  # first: it may continue in a child process
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise click.BadParameter("must be 1 to 64 letters, digits, dots, dashes or underscores", param_hint="--name")
    failpoints.arm(os.environ)
    faulthandler.enable()  # the watchdog's SIGABRT then logs the stack of every thread
    logs.setup(output.settings, "claude-relay-worker")
    _log_cautions(output.settings)
    _log_kept_credentials(output, supervisor)

    return wiring.work(output.settings, supervisor, name, lambda: _reread("claude-relay-worker"))


@click.command()
@json_option
@pass_output
def alerts(output: Output) -> None:
    """Evaluate the alerts once and send the due ones to RELAY_ALERT_URL. Daemons with a network do so by themselves."""
    from ... import logs, wiring
    from ...config import load

    try:
        settings = output.settings
    except ConfigError as exc:  # with which no daemon starts: its alert is sent all the same
        if "RELAY_STORE" in str(exc):  # another store would get the alert
            raise
        for problem in exc.problems:
            output.message(problem)
        settings = load(tolerant=True)
    logs.setup(settings, "claude-relay-alerts")
    sent = wiring.send_alerts(settings)
    if output.json:
        output.value({"sent": sent, "alertUrl": settings.alert_url is not None})
    elif settings.alert_url is None:
        output.message("RELAY_ALERT_URL is not set: alerts are only in the log.")
    else:
        output.message(f"Alerts sent: {sent}.")


@click.command()
@click.option("--check", is_flag=True, help="Only report whether this version can use the store; change nothing.")
@pass_output
def migrate(output: Output, check: bool) -> None:
    """Create the store, or migrate it to the current schema. Exit 78 if it belongs to a newer version."""
    from ...wiring import open_relay

    if check:
        output.message(_check_schema(output.settings))
        return
    with open_relay(output.settings, create=True):
        output.message(f"The store {output.settings.store_shown} is ready.")


@click.command()
@json_option
@pass_output
def purge(output: Output) -> None:
    """Erase jobs past their retention now instead of within the hour."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        erased = relay.maintenance.purge()
    if output.json:
        output.value({"purged": erased})
    else:
        output.message(f"{erased} jobs erased.")


def _check_schema(settings: Settings) -> str:
    """Whether this version can use the store; nothing is changed or created. Raises for one of a newer version."""
    from ...storage import migrate
    from ...wiring import engine_of

    shown, engine = settings.store_shown, engine_of(settings)
    current = engine.schema()
    if current is None:
        return f"There is no store at {shown} yet, or none that can be read."
    if missing := migrate.missing(engine.name, current, where=shown):
        return f"The store {shown} will be migrated from schema {current} to {missing[-1].number} at the next start."

    return f"The store {shown} has the current schema."


def _reread(service: str) -> Settings | None:
    """The settings of now, whose secrets the log redacts from now on; None, with the faults logged, if invalid."""
    from ... import logs
    from ...config import load

    try:
        settings = load()
    except ConfigError as exc:
        logging.getLogger(__name__).error("the secrets were not read again", extra={"error": str(exc)})
        return None
    logs.setup(settings, service)

    return settings


def _log_kept_credentials(output: Output, supervisor: Supervisor) -> None:
    """Log which secrets a reload has not read again, as by units of an earlier version, which copy none."""
    from ...config.sources import CREDENTIAL
    from ...systemd.credentials import FOLDER

    if not supervisor.follows or os.environ.get(FOLDER, "") == os.environ.get("CREDENTIALS_DIRECTORY"):
        return
    credentials = [name for name, setting in output.settings.given.items() if setting.origin == CREDENTIAL]
    if credentials:
        message = "settings reloaded, except systemd's credentials: new ones need a restart"
        logging.getLogger(__name__).info(message, extra={"credentials": credentials})


def _log_cautions(settings: Settings) -> None:
    from ... import wiring
    from ...config.cautions import cautions

    for sentence in cautions(settings):
        logging.getLogger(__name__).warning("setting corrected", extra={"error": sentence})
    for sentence in wiring.engine_of(settings).warnings():
        logging.getLogger(__name__).warning("the store needs attention", extra={"error": sentence})
    if (lost := wiring.lost_with_container(settings)) is not None:
        logging.getLogger(__name__).warning("the store needs attention", extra={"error": lost})


def _upstream_key(output: Output) -> list[str]:
    return ["ANTHROPIC_API_KEY"] if output.settings.provider == "anthropic" else []
