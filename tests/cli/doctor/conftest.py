"""A server as `make install` leaves it, for the doctor's checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_relay.cli.doctor.system import System
from tests.support.doctor import KEY, a_system


@pytest.fixture
def server(tmp_path: Path) -> System:
    """A machine whose systemd has the units, and credentials without a fault."""
    for folder in ("booted", "units", "etc/credentials"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "units" / "claude-relay-worker.service").touch()
    for name in ("ANTHROPIC_API_KEY", "API_SECRET_KEY"):
        secret = tmp_path / "etc" / "credentials" / name
        secret.touch(0o600)
        secret.write_text(KEY)
    return a_system(tmp_path)
