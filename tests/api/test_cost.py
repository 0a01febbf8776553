"""What was spent, over HTTP: the admin sees all, a key its own."""

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


def test_the_admin_sees_what_all_have_spent(client: TestClient, spent: str) -> None:
    told = client.simulate_get("/api/cost", params={"by": "key"}).json

    assert [(row["key"], row["costUsd"]) for row in told["rows"]] == [("make", 0.5), ("n8n", 0.5)]
    assert told["total"]["costUsd"] == 1.0
    assert client.simulate_get("/api/cost", params={"owner": "n8n"}).json["total"]["costUsd"] == 0.5


def test_a_key_sees_its_own_alone(client: TestClient, spent: str) -> None:
    """Whoever else it asks for."""
    told = client.simulate_get("/api/cost", params={"by": "key", "owner": "n8n"}, headers={"X-API-Key": spent}).json

    assert [row["key"] for row in told["rows"]] == ["make"]
    assert told["total"]["costUsd"] == 0.5


@pytest.mark.parametrize("params", [{"by": "colour"}, {"since": "yesterday"}])
def test_a_wrong_question_is_a_400_that_names_it(client: TestClient, params: dict[str, str]) -> None:
    answer = client.simulate_get("/api/cost", params=params)

    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.json["problems"]] == list(params)
