"""A relay on a real store with a clock that only the test moves: what most tests of the use cases begin with."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier

#: What these promise is promised on every engine; the others ask the same statements for less.
_EVERYWHERE = {
    f"test_{name}"
    for name in (
        "acks batches budgets collections collection_batches collection_budgets conversation cost_report damage"
        " damaged_running fairness fallback gathering moves order overview post reach repair templates_store"
    ).split()
}

NewStore = Callable[..., Store]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The tests of those files run once for each engine, but for those that name theirs."""
    if "engine" not in metafunc.fixturenames:
        return
    if any(mark.args[0] == "engine" for mark in metafunc.definition.iter_markers("parametrize")):
        return
    both = metafunc.module.__name__.rpartition(".")[2] in _EVERYWHERE
    metafunc.parametrize("engine", ["sqlite", "postgres"] if both else ["sqlite"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_store(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[NewStore]:
    """Opens stores; without a `clock` theirs is the real one."""
    with contextlib.ExitStack() as stack:
        number = 0

        def make(clock: Callable[[], float] | None = None) -> Store:
            nonlocal number
            number += 1
            if engine == "postgres":
                store: Store = stack.enter_context(request.getfixturevalue("postgres").store(clock=clock))
                return store
            name = "relay.db" if number == 1 else f"relay-{number}.db"
            file = SqliteStore(tmp_path / name, clock=clock or time.time)
            stack.callback(file.close)
            return file

        yield make


@pytest.fixture
def store(new_store: NewStore, clock: Clock) -> Store:
    return new_store(clock=clock)


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(), rng=random.Random(0))
