"""Wrong keys: counted by address, and refused before they are tried once an address sent too many."""

from __future__ import annotations

import pytest
from falcon.testing import TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.api.auth import StoredKeys
from claude_relay.api.limits import KnownKeys
from claude_relay.config import Settings
from claude_relay.core.keys import Scope
from claude_relay.core.text.rates import Rate

from .conftest import KEY

LIMIT = 3


class CountingKeys(StoredKeys):
    """Records the keys that are tried."""

    tried: list[str]

    def caller(self, key):
        self.tried.append(key)
        return super().caller(key)


@pytest.fixture
def verifier(relay):
    verifier = CountingKeys((KEY,), relay.keys)
    verifier.tried = []
    return verifier


@pytest.fixture
def ask(relay, verifier):
    """Asks with a key from an address; gives the response."""
    settings = Settings(api_secret_key=KEY, rate_limit=Rate(LIMIT, 900), rate_limit_submit=None)
    client = TestClient(make_app(relay, settings, intake=wiring.intake_context(settings, relay), verifier=verifier))

    def ask(key, address="192.0.2.1", path="/nowhere"):
        return client.simulate_get(path, headers={"X-API-Key": key}, remote_addr=address)

    return ask


def test_an_address_over_its_limit_is_refused_before_its_keys_are_tried(ask, verifier, relay):
    """CASES S15: right keys get the same 429 as wrong ones, also one that is in use at another address."""
    _, named = relay.keys.add("one", frozenset((Scope.READ,)))
    assert ask(named, "192.0.2.9").status_code == 404
    guesses = [ask(f"guess-{number}").status_code for number in range(LIMIT + 2)]
    assert guesses == [403] * LIMIT + [429] * 2
    verifier.tried.clear()

    answers = [ask(key) for key in ("wrong", KEY, named)]

    assert [answer.status_code for answer in answers] == [429] * 3
    assert verifier.tried == []
    bodies = [{name: value for name, value in answer.json.items() if name != "timestamp"} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert ask(KEY, "192.0.2.2").status_code == 404


def test_a_key_that_was_right_before_passes_at_an_address_over_its_limit(ask, relay):
    """CASES S15: wrong keys from behind the same address do not lock its users out; a revoked key counts as wrong."""
    _, named = relay.keys.add("one", frozenset((Scope.READ,)))
    assert [ask(key).status_code for key in (KEY, named)] == [404, 404]
    for number in range(LIMIT + 1):
        ask(f"guess-{number}")

    assert [ask(key).status_code for key in (KEY, named, "wrong")] == [404, 404, 429]
    relay.keys.revoke("one")
    assert [ask(named).status_code for _ in range(2)] == [429, 429]


def test_requests_without_a_key_count_for_their_address(ask):
    """CASES S15: 401 up to the limit, then 429."""
    assert [ask("").status_code for _ in range(LIMIT + 1)] == [401] * LIMIT + [429]


def test_known_keys_are_bounded_and_the_latest_stay():
    """CASES S15: memory stays bounded, however many addresses ask."""
    known = KnownKeys(limit=2)
    for address in ("a", "b"):
        known.add(address, b"digest")
    assert known.refresh("a", b"digest")
    known.add("c", b"digest")

    assert [known.refresh(address, b"digest") for address in "abc"] == [True, False, True]
