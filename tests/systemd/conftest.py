"""One container per session: systemd with the relay installed; each test starts with an empty relay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_claude import FakeClaude
from tests.support.needs import lacks

from . import venv
from .machine import Machine, needs_of_a_box


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    needs_of_a_box()
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
    """The machine without running daemons."""
    installed.fresh(RELAY_PROVIDER="sandbox")
    return installed


@pytest.fixture
def upstream(installed: Machine) -> Iterator[FakeClaude]:
    """A fake Anthropic API in the container's network."""
    fake = installed.inside(FakeClaude)
    with fake:
        yield fake
