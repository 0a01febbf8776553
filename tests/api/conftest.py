"""The HTTP API over a real store, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from falcon.testing import TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.config import Settings
from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier

KEY = "the-key-of-these-tests"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy())
    yield relay
    relay.close()


@pytest.fixture
def make(relay: Relay):
    """A factory of clients of an app with the given settings, over `relay` or another one."""

    def make(other: Relay | None = None, **fields: object) -> TestClient:
        defaults = {"api_secret_key": KEY, "rate_limit": None, "rate_limit_submit": None}
        settings, served = Settings(**{**defaults, **fields}), other or relay
        app = make_app(served, settings, intake=wiring.intake_context(settings, served))
        return TestClient(app, headers={"X-API-Key": KEY})

    return make


@pytest.fixture
def client(make) -> TestClient:
    return make()
