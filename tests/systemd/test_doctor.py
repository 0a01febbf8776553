"""`doctor` on a server whose units have drop-ins."""

from __future__ import annotations

import json

import pytest

from .machine import API, TARGET, WORKER, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]  # the first one makes the box


def broken(machine: Machine) -> list[dict[str, str]]:
    """The faults that doctor finds in the units, with its exit code checked."""
    done = machine.run("/opt/claude-relay/bin/claude-relay", "doctor", "--json", check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [finding for finding in found if finding["result"] == "fail"]
    assert done.returncode == (1 if faults else 0), done.stderr
    return faults


@pytest.mark.parametrize(
    ("unit", "drop_in", "words"),
    [
        (WORKER, "[Service]\nUser=www-data\n", ("User", "www-data", "claude-relay")),
        (
            API,
            "[Service]\nEnvironment=RELAY_STORE=sqlite:////var/lib/claude-relay/other.db\n",
            ("RELAY_STORE", "other.db"),
        ),
        (WORKER, "[Service]\nExecStart=/bin/true\n", ("bad-setting", "ExecStart=")),
    ],
    ids=["user", "store", "two commands"],
)
def test_the_difference_that_a_drop_in_makes_is_named(
    machine: Machine, unit: str, drop_in: str, words: tuple[str, ...]
) -> None:
    """CASES A11: as systemd really shows it; without a restart or `make install` as the cure."""
    machine.drop_in(unit, drop_in)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", TARGET, check=False)
    faults = [f"{fault['found']} → {fault['mend']}" for fault in broken(machine) if unit in fault["found"]]

    assert any(all(word in fault for word in words) for fault in faults), faults
    assert not any("make install" in fault for fault in faults)
