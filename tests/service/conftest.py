"""A relay on a real store with a clock that stands still: what most tests of the use cases begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.policy import Policy
from claude_relay.relay import Relay
from claude_relay.storage.sqlite import SqliteStore
from tests.support.builders import Clock, QuietBell


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "relay.db", clock=clock)
    yield store
    store.close()


@pytest.fixture
def relay(store: SqliteStore) -> Relay:
    return Relay(store, QuietBell(), Policy())
