"""A store of each engine with a clock that only the test moves: what most tests of the stores begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.ports import Store
from tests.support.builders import Clock
from tests.support.places import Place, open_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a SQLite store."""
    return tmp_path / "store" / "relay.db"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Of a new store, on each engine."""
    if request.param == "sqlite":
        yield tmp_path / "store" / "relay.db"
        return
    with request.getfixturevalue("postgres").place() as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(place: Place, clock: Clock) -> Iterator[Store]:
    store = open_at(place, clock)
    yield store
    store.close()
