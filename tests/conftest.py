"""What every test may lean on."""

from __future__ import annotations

import os

import pytest

from claude_relay.config import OPTIONS

OURS = {name for row in OPTIONS for name in (row.name, *row.aliases)}


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch):
    """No test reads the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("RELAY_") or name.removesuffix("_FILE") in OURS]:
        monkeypatch.delenv(name)
