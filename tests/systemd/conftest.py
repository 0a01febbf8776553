"""One box a session: a systemd with the relay installed; each test begins with an empty one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_claude import FakeClaude
from tests.support.needs import lacks, needs

from . import venv
from .machine import Machine


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if os.geteuid() != 0:
        lacks("a box with its own systemd needs root")
    for program, package in {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}.items():
        needs(program, package)
    for path, package in {"/lib/systemd/systemd": "systemd", "/usr/bin/dbus-daemon": "dbus"}.items():
        if not Path(path).exists():
            lacks(f"{path} is missing: apt-get install {package}")
    if not Path("/sys/fs/cgroup/cgroup.procs").exists() and not Path("/sys/fs/cgroup/unified").exists():
        lacks("a box with its own systemd needs cgroup2")
    folder = tmp_path_factory.mktemp("box")
    try:
        machine = Machine(folder, venv.make(tmp_path_factory.mktemp("venv")))
    except RuntimeError as exc:
        lacks(f"no systemd can be started here: {exc}")
    try:
        machine.install()
        yield machine
    finally:
        machine.close()


@pytest.fixture
def machine(installed: Machine) -> Machine:
    """Nothing runs on it yet."""
    installed.fresh(RELAY_PROVIDER="sandbox")
    return installed


@pytest.fixture
def upstream(installed: Machine) -> Iterator[FakeClaude]:
    """Anthropic's API, in the box's network."""
    fake = installed.inside(FakeClaude)
    with fake:
        yield fake
