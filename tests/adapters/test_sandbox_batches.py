"""The batches of the sandbox over real HTTP: created, polled, canceled, read, and recorded in its books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from claude_relay.sandbox import Sandbox
from tests.support.eventually import eventually

HEADERS = {"x-api-key": "any", "anthropic-version": "2026-10-21"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(batch_time=0.05) as running:
        yield running


def ask(sandbox: Sandbox, method: str, path: str = "", body: Any = None) -> requests.Response:
    return requests.request(method, f"{sandbox.url}/v1/messages/batches{path}", json=body, headers=HEADERS, timeout=60)


def item(custom_id: str, prompt: str = "Hei", **params: Any) -> dict[str, Any]:
    defaults = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": custom_id, "params": defaults | params}


def create(sandbox: Sandbox, *items: dict[str, Any]) -> str:
    answer = ask(sandbox, "POST", body={"requests": list(items)})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-claude-relay-sandbox"] == "1"
    return str(answer.json()["id"])


def results(sandbox: Sandbox, batch_id: str) -> dict[str, Any]:
    eventually(lambda: ask(sandbox, "GET", f"/{batch_id}").json()["processing_status"] == "ended")
    lines = ask(sandbox, "GET", f"/{batch_id}/results").text.splitlines()
    return {row["custom_id"]: row["result"] for row in map(json.loads, lines)}


def test_results_name_the_sandbox_and_are_in_its_books(sandbox: Sandbox) -> None:
    outcome = results(sandbox, create(sandbox, item("a"), item("b"), item("c")))

    assert set(outcome) == {"a", "b", "c"}
    assert "sandbox" in outcome["a"]["message"]["content"][0]["text"]
    assert outcome["a"]["message"]["usage"]["service_tier"] == "batch"
    booked = [call for call in sandbox.books.calls() if call["custom_id"]]
    assert sorted(call["custom_id"] for call in booked) == ["a", "b", "c"]
    assert {call["ended"] for call in booked} == {"finished"}


@pytest.mark.parametrize(
    ("prompt", "kind", "error"),
    [
        ("[sandbox: expire]", "expired", None),
        ("[sandbox: error 400]", "errored", "invalid_request_error"),
        ("[sandbox: overloaded]", "errored", "overloaded_error"),
        ("[sandbox: no-such-word]", "errored", "invalid_request_error"),
        ("[sandbox: refuse]", "succeeded", None),
    ],
)
def test_a_directive_decides_the_result_of_its_own_request_only(
    sandbox: Sandbox, prompt: str, kind: str, error: str | None
) -> None:
    outcome = results(sandbox, create(sandbox, item("faulty", prompt), item("other")))

    assert (outcome["faulty"]["type"], outcome["other"]["type"]) == (kind, "succeeded")
    assert outcome["faulty"].get("error", {}).get("error", {}).get("type") == error


def test_a_slow_request_delays_its_batch_until_that_is_canceled(sandbox: Sandbox) -> None:
    batch_id = create(sandbox, item("a", "[sandbox: slow 1h]"), item("b"))
    batch = ask(sandbox, "GET", f"/{batch_id}").json()
    assert (batch["processing_status"], batch["request_counts"]["processing"]) == ("in_progress", 2)
    assert ask(sandbox, "GET", f"/{batch_id}/results").status_code == 404

    assert ask(sandbox, "POST", f"/{batch_id}/cancel").json()["processing_status"] == "canceling"
    assert {row["type"] for row in results(sandbox, batch_id).values()} == {"canceled"}


def test_a_whole_batch_can_be_refused(sandbox: Sandbox) -> None:
    requests_again = [item("a", "[sandbox: batch-error 500 1]")]
    first, second = (ask(sandbox, "POST", body={"requests": requests_again}) for _ in range(2))

    assert (first.status_code, second.status_code) == (500, 200)
    for bad in ([], [item("a"), item("a")], [item("not/an id")], [{"custom_id": "a"}]):
        assert ask(sandbox, "POST", body={"requests": bad}).status_code == 400


def test_the_list_is_newest_first_with_cursors(sandbox: Sandbox) -> None:
    ids = [create(sandbox, item("a")) for _ in range(3)]
    page = ask(sandbox, "GET", "?limit=2").json()

    assert [row["id"] for row in page["data"]] == [ids[2], ids[1]]
    assert page["has_more"] is True
    rest = ask(sandbox, "GET", f"?limit=2&after_id={page['last_id']}").json()
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == ([ids[0]], False)


def test_the_anthropic_client_reads_every_shape(sandbox: Sandbox) -> None:
    """In the shapes of the `anthropic` package."""
    import anthropic

    with anthropic.Anthropic(api_key="any", base_url=sandbox.url, max_retries=0) as client:
        batch = client.messages.batches.create(requests=[item("a"), item("b", "[sandbox: expire]")])  # type: ignore[list-item]
        eventually(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended")
        kinds = {row.custom_id: row.result.type for row in client.messages.batches.results(batch.id)}

        assert kinds == {"a": "succeeded", "b": "expired"}
        assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == 1
        assert [row.id for row in client.messages.batches.list()] == [batch.id]
