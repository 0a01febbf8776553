"""The units of a relay whose store is a PostgreSQL server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from .machine import ALERTS, API, ROOT, UNITS, WORKER, Machine

pytestmark = pytest.mark.timeout(300)  # the first one makes the box

DROP_INS = {
    "socket": ("claude-relay-.service.d/postgres.conf",),
    "tcp": ("claude-relay-.service.d/postgres.conf", "claude-relay-api.service.d/postgres-tcp.conf"),
}
SERVICES = (API, WORKER, "claude-relay-worker@.service", ALERTS)


@pytest.fixture
def laid(machine: Machine) -> Iterator[Callable[[str], Machine]]:
    """The drop-ins of a kind, as `make install POSTGRES=…` lays them."""

    def lay(kind: str) -> Machine:
        for path in DROP_INS[kind]:
            machine.write(f"{UNITS}/{path}", (ROOT / "systemd" / "postgres" / path).read_text())
        machine.systemctl("daemon-reload")
        return machine

    yield lay
    for path in DROP_INS["tcp"]:
        machine.run("rm", "-rf", f"/{UNITS}/{path.partition('/')[0]}")
    machine.systemctl("daemon-reload")


@pytest.mark.parametrize("kind", DROP_INS)
def test_systemd_has_nothing_to_say_about_the_drop_ins(laid, kind):
    machine = laid(kind)

    done = machine.run("systemd-analyze", "verify", *(f"/{UNITS}/{unit}" for unit in SERVICES), check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for unit in (API, WORKER, "claude-relay-worker@2.service", ALERTS):
        paths = machine.show(unit, "DropInPaths")["DropInPaths"].split()
        assert f"/{UNITS}/{DROP_INS[kind][0]}" in paths, unit
        assert (f"/{UNITS}/{DROP_INS['tcp'][1]}" in paths) == (kind == "tcp" and unit == API)


@pytest.mark.parametrize(
    "kind, unit, most",
    [("socket", API, 0.3), ("tcp", API, 1.2)]
    + [(kind, unit, 1.2) for kind in DROP_INS for unit in (WORKER, "claude-relay-worker@.service", ALERTS)],
)
def test_with_them_the_daemons_may_do_little_more(laid, kind, unit, most):
    """Through its socket a server on this machine costs the API nothing of its fence."""
    told = laid(kind).run("systemd-analyze", "security", "--offline=yes", f"/{UNITS}/{unit}").stdout
    [score] = re.findall(r"exposure level for .*: ([\d.]+) ", told)
    print(kind, unit, score)

    assert float(score) <= most
