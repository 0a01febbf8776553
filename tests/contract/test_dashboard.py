"""Every page of the dashboard on every engine."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from falcon.testing import TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.config import Settings
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.keys import Scope
from claude_relay.core.policy import Policy
from claude_relay.dashboard.mount import PAGES
from claude_relay.ports import Store
from claude_relay.services import Relay
from tests.support.builders import QuietNotifier, a_completion, a_submission

KEY = "the-admin-key-of-these-tests"
FILTERS = (
    "dead=true",
    "unacked=true",
    "status=held",
    "host=hook.example",
    "q=needle",
    "group=default&since=1h",
    "key=make",
)


@pytest.fixture
def clock() -> Callable[[], float]:
    """The real time, for the store."""
    return time.time


def test_every_page_is_shown_to_the_admin_and_to_a_key_of_its_own(store: Store) -> None:
    """With jobs in each state, also one that a page is asked about while it runs."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
    settings = Settings(api_secret_key=KEY, rate_limit=None, rate_limit_submit=None)
    intake = wiring.intake_context(settings, relay)
    app = make_app(relay, settings, intake=intake, dashboard=wiring.dashboard(settings, relay, intake))
    _, own = relay.keys.add("make", frozenset((Scope.READ, Scope.SUBMIT)))
    for name in ("ended", "dead", "runs", "waits"):
        relay.submit(a_submission(name), owner="make")
    for claimed in relay.execution.claim("w", limit=2):
        relay.execution.complete(claimed, a_completion())
    for status, sent in zip((200, 403), relay.deliveries.claim("w", limit=2), strict=True):
        relay.deliveries.record_attempt(sent, Reply(status=status))
    relay.execution.claim("w", limit=1)
    paths = [path for path in PAGES if "{" not in path]
    paths += [f"/dashboard/jobs?{query}" for query in FILTERS]
    paths += [
        f"/dashboard/jobs/{name}{more}" for name in ("ended", "dead", "runs", "waits") for more in ("", "/raw/prompt")
    ]

    for key in (KEY, own):
        client = TestClient(app, headers={"X-API-Key": key})
        answers = {path: client.simulate_get(path).status_code for path in paths}
        forbidden = {"/dashboard/groups", "/dashboard/destinations", "/dashboard/keys"} if key == own else set()
        assert {path for path, status in answers.items() if status != 200} == forbidden
    relay.close()
