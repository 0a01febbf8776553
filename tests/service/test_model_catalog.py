"""The model list: fetched and stored by a worker, cached by every process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.claude import AnthropicMessages, CallTimeouts
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from claude_relay.core.models.catalog import BUILT_IN
from claude_relay.core.money.prices import PriceList
from claude_relay.errors import StoreUnavailable
from claude_relay.services import Relay
from claude_relay.services.model_catalog import MAX_AGE, CachedModelCatalog
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.model_refresher import FIRST_PAUSE, REFRESH, ModelRefresher
from tests.support.builders import Clock
from tests.support.fake_claude import FakeClaude, listed

DOWN = Failure(type=ErrorType.UPSTREAM, message="no", remedy=Remedy.RETRY)


class Scripted:
    """A model lister with fixed answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def models(self) -> Any:
        return self.answers.pop(0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "relay.db")
    yield store
    store.close()


def test_every_page_is_fetched_and_stored_with_the_retired_ones(relay: Relay, store: SqliteStore) -> None:
    """Through the real client: pages are followed, unknown fields are ignored, and it is not a call in the ledger."""
    with FakeClaude() as fake:
        fake.page = 2
        messages = AnthropicMessages(
            api_key="sk-ant-test", prices=PriceList(dated=""), base_url=fake.url, limits=CallTimeouts()
        )
        assert ModelRefresher(relay, messages, provider="anthropic").refresh() == REFRESH
        messages.close()

    memo = store.read(lambda tx: tx.shared_value("models"))
    assert [model["id"] for model in memo["models"]] == [model["id"] for model in fake.models or ()]
    assert memo["fetchedAt"] == pytest.approx(time.time(), abs=60)
    assert memo["models"][-1]["lifecycle"] == "retired"
    assert (len(fake.looks), fake.books) == (4, [])
    assert all(seen.headers["authorization"] == "Bearer sk-ant-test" for seen in fake.looks)


def test_a_failing_fetch_backs_off(relay: Relay, store: SqliteStore) -> None:
    """The stored list is kept, and an empty list counts as a failure."""
    models = [{"id": "claude-sonnet-6", "line": "sonnet"}]
    lookup = ModelRefresher(relay, Scripted(models, DOWN, [], DOWN, models, DOWN), provider="anthropic")

    pauses = [lookup.refresh() for _ in range(6)]
    assert pauses == [REFRESH, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, REFRESH, FIRST_PAUSE]
    assert store.read(lambda tx: tx.shared_value("models"))["models"] == models


@pytest.mark.parametrize("broken", [None, []])
def test_an_upstream_without_a_list_is_a_failure(broken: Any) -> None:
    """A gateway may not have one."""
    with FakeClaude() as fake:
        fake.models = broken
        messages = AnthropicMessages(
            api_key="sk-ant-test", prices=PriceList(dated=""), base_url=fake.url, limits=CallTimeouts()
        )
        models = messages.models()
        messages.close()

    assert models == [] or (isinstance(models, Failure) and models.reason == "http_500")


def test_a_new_list_is_used_without_a_restart(relay: Relay, store: SqliteStore) -> None:
    """Within seconds, and without reading the store for each job."""
    clock = Clock(0.0)
    catalog = CachedModelCatalog(store, clock=clock)
    assert catalog() is BUILT_IN

    ModelRefresher(relay, Scripted([{"id": "claude-opus-6", "line": "opus"}]), provider="anthropic").refresh()
    assert catalog() is BUILT_IN
    clock.advance(MAX_AGE)
    assert catalog().aliases["smart"] == "claude-opus-6"
    assert catalog() is catalog()


def test_the_list_of_another_provider_is_ignored(relay: Relay, store: SqliteStore) -> None:
    """A relay that switches from the sandbox to Anthropic does not use the models of the sandbox."""
    ModelRefresher(relay, Scripted([{"id": "claude-opus-6", "line": "opus"}]), provider="sandbox").refresh()

    assert CachedModelCatalog(store, provider="anthropic")() is BUILT_IN
    assert CachedModelCatalog(store, provider="sandbox")().aliases["smart"] == "claude-opus-6"


@pytest.mark.parametrize(
    "memo",
    [None, 7, {}, {"models": []}, {"models": [1, {"id": ""}], "fetchedAt": 1.0}, {"models": [listed("claude-opus-6")]}],
)
def test_an_invalid_stored_list_leaves_the_built_in_one(store: SqliteStore, memo: Any) -> None:
    store.write(lambda tx: tx.set_shared_value("models", memo))

    assert CachedModelCatalog(store)() is BUILT_IN


def test_a_store_that_is_away_leaves_the_list_as_it_was_read(relay: Relay, store: SqliteStore) -> None:
    """Until it is back: a request names a model meanwhile."""
    clock = Clock()
    catalog = CachedModelCatalog(store, clock=clock)
    relay.maintenance.set_shared("models", {"fetchedAt": 1.0, "models": [listed("claude-new-9")]})
    assert catalog().listed("claude-new-9")

    def away(work: Any) -> Any:
        raise StoreUnavailable("it is away")

    read, store.read = store.read, away  # type: ignore[method-assign]
    clock.advance(MAX_AGE)
    assert catalog().listed("claude-new-9")
    store.read = read  # type: ignore[method-assign]
    relay.maintenance.set_shared("models", {"fetchedAt": 1.0, "models": [listed("claude-newer-9")]})
    clock.advance(MAX_AGE)
    assert catalog().listed("claude-newer-9") and not catalog().listed("claude-new-9")
