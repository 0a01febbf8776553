"""Costs over HTTP: the admin sees all owners, a key its own."""

from __future__ import annotations

import pytest
from falcon.testing import TestClient

from claude_relay.core.keys import Scope
from claude_relay.services import Relay
from tests.support.builders import a_completion, a_submission


@pytest.fixture
def spent(relay: Relay) -> str:
    """Two keys have spent something; the text of one of them."""
    for owner in ("make", "n8n"):
        relay.submit(a_submission(), owner=owner)
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.sending(claimed)
        relay.execution.complete(claimed, a_completion(cost_usd=0.5))
    return relay.keys.add("make", frozenset({Scope.READ}))[1]


def test_the_admin_sees_the_spend_of_all_owners(client: TestClient, spent: str) -> None:
    report = client.simulate_get("/api/cost", params={"by": "key"}).json

    assert [(row["key"], row["costUsd"]) for row in report["rows"]] == [("make", 0.5), ("n8n", 0.5)]
    assert report["total"]["costUsd"] == 1.0
    assert client.simulate_get("/api/cost", params={"owner": "n8n"}).json["total"]["costUsd"] == 0.5


def test_a_key_sees_only_its_own_spend(client: TestClient, spent: str) -> None:
    """Also if it names another owner."""
    report = client.simulate_get("/api/cost", params={"by": "key", "owner": "n8n"}, headers={"X-API-Key": spent}).json

    assert [row["key"] for row in report["rows"]] == ["make"]
    assert report["total"]["costUsd"] == 0.5


@pytest.mark.parametrize("params", [{"by": "colour"}, {"since": "yesterday"}])
def test_an_invalid_parameter_is_a_400_that_names_it(client: TestClient, params: dict[str, str]) -> None:
    answer = client.simulate_get("/api/cost", params=params)

    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.json["problems"]] == list(params)
