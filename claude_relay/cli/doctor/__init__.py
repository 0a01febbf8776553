"""`doctor`: checks of the installation, each fault with the command that fixes it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import click

from ...config import Settings
from ...errors import ConfigError, RelayError
from ..render.output import Output, clean, json_option, pass_output
from . import host, network, permissions, remote_relay, settings, store, units
from .finding import Finding, failure
from .system import System

#: Exit code for wrong settings, with which no daemon starts.
_CONFIG = 78


@click.command()
@click.option("--webhooks", is_flag=True, help="Also check that the hosts of the latest callbacks can be reached.")
@click.option("--upstream", is_flag=True, help="Also check that Anthropic accepts the key (one free call).")
@click.option("--deep", is_flag=True, help="Also compare every stored request, answer and callback with its digest.")
@json_option
@pass_output
def doctor(output: Output, webhooks: bool, upstream: bool, deep: bool) -> int:
    """
    Check settings, secrets, permissions, units, clock, disk and store; print the fix for each fault.

    With --url or RELAY_URL: check that the remote relay answers, accepts the key, has a worker and makes progress.

    Exit 0 if nothing is broken (warnings do not count), 1 if something is, 78 if the settings are wrong.
    """
    system = System()
    loaded: Settings | None = None
    problems: tuple[str, ...] = ()
    try:
        loaded = output.settings
    except ConfigError as exc:
        problems = exc.problems
    local = _check_all(loaded, problems, system, webhooks=webhooks, upstream=upstream, deep=deep)
    failures = warnings = 0
    for finding in remote_relay.check(output) if loaded is not None and loaded.url else local:
        failures += finding.result == "fail"
        warnings += finding.result == "warn"
        _show(output, finding)
    if not output.json:
        output.message(f"{failures} broken, {warnings} to look at." if failures or warnings else "All is well.")

    return _CONFIG if problems else 1 if failures else 0


def _check_all(
    loaded: Settings | None, problems: Iterable[str], system: System, *, webhooks: bool, upstream: bool, deep: bool
) -> Iterator[Finding]:
    """All checks, in the order of repair: nothing runs without settings, nothing starts without secrets."""
    values = settings.check(loaded, system) if loaded is not None else settings.faults(tuple(problems), system)
    yield from _complete("settings", values)
    yield from _complete("permissions", permissions.check(loaded, system))
    yield from _complete("host", host.check(loaded, system))
    if loaded is not None:
        yield from _complete("store", store.check(loaded, system, deep=deep))
    yield from _complete("units", units.check(system, loaded))
    if loaded is not None and webhooks:
        yield from _complete("webhooks", network.webhooks(loaded))
    if loaded is not None and upstream:
        yield from _complete("claude", network.upstream(loaded, system))


def _complete(check: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings of a check. A fault of the machine that ends it is one, too."""
    try:
        yield from findings
    except (OSError, RelayError) as exc:
        fix = "sudo claude-relay doctor" if os.geteuid() else f"ls -la {getattr(exc, 'filename', None) or '.'}"
        yield failure(check, f"the check could not be completed: {exc}", fix)


def _show(output: Output, finding: Finding) -> None:
    if output.json:
        output.record(finding.as_json())
    elif output.terminal:
        from rich.text import Text

        colour = {"ok": "green", "warn": "yellow", "fail": "bold red"}[finding.result]
        text = Text.assemble((f"{finding.result:<5}", colour), clean(f" {finding.check:<12} {finding.detail}"))
        if finding.fix:
            text.append(clean(f"\n{'':18} → {finding.fix}"))
        # Not wrapped by us: a command is copied as one line.
        output.console().print(text, soft_wrap=True)
    else:
        output.table((), [(finding.result, finding.check, finding.detail, finding.fix)])
