"""A machine for the doctor's checks, and the faults among their findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from claude_relay.cli.doctor.finding import Finding
from claude_relay.cli.doctor.system import System

NOW = 1_795_500_000.0
KEY = "k" * 40


def a_system(folder: Path, outputs: dict[str, str] | None = None) -> System:
    """A machine in `folder`; `outputs` is the stdout of each command, by its program."""

    def run(command: Sequence[str]) -> str | None:
        return (outputs or {}).get(command[0])

    return System(
        etc=folder / "etc",
        dotenv=folder / ".env",
        booted=folder / "booted",
        unit_folders=(folder / "units",),
        environ=(),
        run=run,
        now=lambda: NOW,
    )


def faults(findings: Iterable[Finding]) -> list[Finding]:
    """The findings other than `ok`, each of which must have a fix."""
    result = [finding for finding in findings if finding.result != "ok"]
    assert all(finding.fix for finding in result)
    return result
