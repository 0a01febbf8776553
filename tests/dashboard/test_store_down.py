"""Pages while the store cannot be read: they say so, and recover by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_submission


class Flaky:
    """A store that can be out of reach."""

    def __init__(self, store: SqliteStore) -> None:
        self._store, self.down = store, False

    def read(self, look: Any) -> Any:
        if self.down:
            raise StoreUnavailable("The store cannot be reached: <b>connection refused</b>.")
        return self._store.read(look)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Flaky:
    return Flaky(SqliteStore(tmp_path / "relay.db", clock=clock))


@pytest.fixture
def relay(store: Flaky) -> Iterator[Relay]:
    relay = Relay(store, QuietNotifier(), Policy())  # type: ignore[arg-type]
    yield relay
    relay.close()


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/jobs", "/dashboard/jobs/r-1", "/dashboard/money"])
def test_a_page_says_that_the_store_is_down_and_loads_again_by_itself(relay, store, admin, path):
    """With and without JavaScript: the page that is open keeps what it shows, and the new one reloads."""
    relay.submit(a_submission("r-1"))
    store.down = True
    page = admin.get(path)
    assert (page.status, page.headers["retry-after"]) == (503, "5")
    assert "The store cannot be reached: <b>connection refused</b>." in page.text and "<b>connection" not in page.page
    assert '<meta http-equiv="refresh" content="5">' in page.page
    refreshed = admin.client.simulate_get(path, headers=admin._headers({"HX-Request": "true"}))
    assert refreshed.status_code == 503  # which htmx puts nowhere: dashboard.js says that what is shown is old

    store.down = False
    assert admin.get(path).status == 200


def test_an_act_while_the_store_is_down_is_not_lost_in_silence(store, admin):
    admin.get("/dashboard")
    store.down = True
    page = admin.post("/dashboard/jobs", act="cancel", which="all", confirm="1")

    assert (page.status, "connection refused" in page.text) == (503, True)
