"""The sandbox's batches over real HTTP: made, looked at, canceled and read, with books of their own."""

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
    return requests.request(method, f"{sandbox.url}/v1/messages/batches{path}", json=body, headers=HEADERS, timeout=10)


def item(custom_id: str, prompt: str = "Hei", **params: Any) -> dict[str, Any]:
    known = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": custom_id, "params": known | params}


def made(sandbox: Sandbox, *items: dict[str, Any]) -> str:
    answer = ask(sandbox, "POST", body={"requests": list(items)})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-claude-relay-sandbox"] == "1"
    return str(answer.json()["id"])


def results(sandbox: Sandbox, batch_id: str) -> dict[str, Any]:
    eventually(lambda: ask(sandbox, "GET", f"/{batch_id}").json()["processing_status"] == "ended")
    lines = ask(sandbox, "GET", f"/{batch_id}/results").text.splitlines()
    return {one["custom_id"]: one["result"] for one in map(json.loads, lines)}


def test_results_say_the_sandbox_speaks_and_the_books_know_each(sandbox: Sandbox) -> None:
    found = results(sandbox, made(sandbox, item("a"), item("b"), item("c")))

    assert set(found) == {"a", "b", "c"}
    assert "sandbox" in found["a"]["message"]["content"][0]["text"]
    assert found["a"]["message"]["usage"]["service_tier"] == "batch"
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
def test_a_prompt_says_what_comes_of_it_and_sinks_no_other(
    sandbox: Sandbox, prompt: str, kind: str, error: str | None
) -> None:
    found = results(sandbox, made(sandbox, item("told", prompt), item("other")))

    assert (found["told"]["type"], found["other"]["type"]) == (kind, "succeeded")
    assert found["told"].get("error", {}).get("error", {}).get("type") == error


def test_a_slow_one_holds_its_batch_until_that_is_canceled(sandbox: Sandbox) -> None:
    batch_id = made(sandbox, item("a", "[sandbox: slow 1h]"), item("b"))
    seen = ask(sandbox, "GET", f"/{batch_id}").json()
    assert (seen["processing_status"], seen["request_counts"]["processing"]) == ("in_progress", 2)
    assert ask(sandbox, "GET", f"/{batch_id}/results").status_code == 404

    assert ask(sandbox, "POST", f"/{batch_id}/cancel").json()["processing_status"] == "canceling"
    assert {one["type"] for one in results(sandbox, batch_id).values()} == {"canceled"}


def test_a_batch_can_be_refused_as_a_whole(sandbox: Sandbox) -> None:
    again = [item("a", "[sandbox: batch-error 500 1]")]
    first, second = (ask(sandbox, "POST", body={"requests": again}) for _ in range(2))

    assert (first.status_code, second.status_code) == (500, 200)
    for bad in ([], [item("a"), item("a")], [item("not/an id")], [{"custom_id": "a"}]):
        assert ask(sandbox, "POST", body={"requests": bad}).status_code == 400


def test_the_list_is_newest_first_with_cursors(sandbox: Sandbox) -> None:
    ids = [made(sandbox, item("a")) for _ in range(3)]
    page = ask(sandbox, "GET", "?limit=2").json()

    assert [one["id"] for one in page["data"]] == [ids[2], ids[1]]
    assert page["has_more"] is True
    rest = ask(sandbox, "GET", f"?limit=2&after_id={page['last_id']}").json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[0]], False)


def test_anthropics_own_client_reads_all_of_it(sandbox: Sandbox) -> None:
    """The shapes are those that the `anthropic` package knows."""
    import anthropic

    with anthropic.Anthropic(api_key="any", base_url=sandbox.url, max_retries=0) as client:
        batch = client.messages.batches.create(requests=[item("a"), item("b", "[sandbox: expire]")])  # type: ignore[list-item]
        eventually(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended")
        kinds = {one.custom_id: one.result.type for one in client.messages.batches.results(batch.id)}

        assert kinds == {"a": "succeeded", "b": "expired"}
        assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == 1
        assert [one.id for one in client.messages.batches.list()] == [batch.id]
