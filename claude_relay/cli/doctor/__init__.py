"""`doctor`: what is wrong, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from ...config import Settings
from ...errors import ConfigError
from ..render.output import Output, clean, json_option, pass_output
from . import host, network, permissions, remote_relay, settings, store, units
from .finding import Finding
from .system import System

#: The settings are wrong: nothing starts before they are mended.
_CONFIG = 78


@click.command()
@click.option(
    "--webhooks", is_flag=True, help="Also look whether the latest callbacks' hosts can be reached from here."
)
@click.option("--upstream", is_flag=True, help="Also ask Anthropic whether it takes the key (one free call).")
@json_option
@pass_output
def doctor(output: Output, webhooks: bool, upstream: bool) -> int:
    """
    Check settings, secrets, rights, units, clock, disk and store; name a mend for each fault.

    With --url or RELAY_URL: whether that relay answers, takes the key, has a worker and gets on.

    Exit 0 if nothing is broken (warnings are no faults), 1 if something is, 78 if the settings are wrong.
    """
    machine = System()
    read: Settings | None = None
    wrong: tuple[str, ...] = ()
    try:
        read = output.settings
    except ConfigError as exc:
        wrong = exc.problems
    findings = []
    here = _all(read, wrong, machine, webhooks=webhooks, upstream=upstream)
    for finding in remote_relay.check(output) if read is not None and read.url else here:
        findings.append(finding)
        _show(output, finding)
    broken = sum(one.result == "fail" for one in findings)
    if not output.json:
        doubts = sum(one.result == "warn" for one in findings)
        output.message(f"{broken} broken, {doubts} to look at." if broken or doubts else "All is well.")

    return _CONFIG if wrong else 1 if broken else 0


def _all(
    read: Settings | None, wrong: Iterable[str], machine: System, *, webhooks: bool, upstream: bool
) -> Iterator[Finding]:
    """In the order in which they should be mended: nothing runs without settings, nothing starts without secrets."""
    yield from settings.check(read, machine) if read is not None else settings.faults(tuple(wrong), machine)
    yield from permissions.check(read, machine)
    yield from host.check(read, machine)
    if read is not None:
        yield from store.check(read, machine)
    yield from units.check(machine)
    if read is not None and webhooks:
        yield from network.webhooks(read)
    if read is not None and upstream:
        yield from network.upstream(read, machine)


def _show(output: Output, finding: Finding) -> None:
    if output.json:
        output.record(finding.as_json())
    elif output.terminal:
        from rich.text import Text

        colour = {"ok": "green", "warn": "yellow", "fail": "bold red"}[finding.result]
        told = Text.assemble((f"{finding.result:<5}", colour), clean(f" {finding.check:<12} {finding.detail}"))
        if finding.fix:
            told.append(clean(f"\n{'':18} → {finding.fix}"))
        # Not wrapped by us: a command is copied whole.
        output.console().print(told, soft_wrap=True)
    else:
        output.table((), [(finding.result, finding.check, finding.detail, finding.fix)])
