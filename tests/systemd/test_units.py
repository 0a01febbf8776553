"""The unit files: no misspelt keys, and strict hardening."""

from __future__ import annotations

import re

import pytest

from .machine import ALERTS, API, NO_API, PATH, SOCKET, WORKER, Machine

pytestmark = pytest.mark.timeout(300)  # the first one makes the box

UNITS = (
    "claude-relay.target",
    SOCKET,
    API,
    WORKER,
    "claude-relay-worker@.service",
    PATH,
    ALERTS,
    NO_API,
)


def test_systemd_has_nothing_to_say_about_them(machine: Machine) -> None:
    """`verify` exits with 0 also for a misspelt key: its output counts."""
    done = machine.run("systemd-analyze", "verify", *(f"/etc/systemd/system/{unit}" for unit in UNITS), check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "unit, most",
    [(API, 0.3), (WORKER, 1.2), ("claude-relay-worker@1.service", 1.2), (ALERTS, 1.2), (NO_API, 0.3)],
    ids=str,
)
def test_they_may_do_little(machine: Machine, unit: str, most: float) -> None:
    """By systemd's own score: 10 is a unit without any hardening."""
    file = "claude-relay-worker@.service" if "@" in unit else unit
    told = machine.run("systemd-analyze", "security", "--offline=yes", f"/etc/systemd/system/{file}").stdout
    [score] = re.findall(r"exposure level for .*: ([\d.]+) ", told)

    assert float(score) <= most
