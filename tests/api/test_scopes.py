"""The scopes of keys: what each route, each body and each answer gives to a key."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from falcon.testing import TestClient

from claude_relay.api.app import ROUTES
from claude_relay.api.scopes import SCOPES
from claude_relay.core.keys import Scope
from claude_relay.services import CollectionRef, JobRef
from tests.support.builders import a_completion
from tests.support.many_jobs import purge

SECRET = "the answer that only a reader may see"
SUBSETS = [set(chosen) for size in range(1, 4) for chosen in itertools.combinations(Scope, size)]
GUARDED = [route for route, scopes in SCOPES.items() if scopes]


@pytest.fixture
def key(relay, client):
    """A client with a key of the given scopes; the name of the key tells them."""

    def key(*scopes: Scope) -> TestClient:
        name = "k-" + "-".join(sorted(scope.value for scope in scopes))
        _, text = relay.keys.add(name, frozenset(scopes))
        return TestClient(client.app, headers={"X-API-Key": text})

    return key


@pytest.fixture
def ended(relay, key):
    """A submit-only client with three jobs of its own: one completed, one failed, one pending."""
    client = key(Scope.SUBMIT)
    for name in ("done", "failed", "waiting"):
        submit(client, name, webhookUrl="https://hook.example/in")
    for claimed in relay.execution.claim("w", limit=1):
        relay.execution.complete(claimed, a_completion(text=SECRET))
    relay.cancel(JobRef(request_id="failed"))

    return client


def submit(client, request_id, headers=None, **body):
    body = {"prompt": "Hei", "requestId": request_id, **body}
    return client.simulate_post("/api/claude", json=body, headers=headers or {})


def test_every_route_has_its_scopes() -> None:
    """CASES S2: a new route without an entry fails here, and is for the admin key alone until it has one."""
    assert set(SCOPES) == {(method, path) for path, methods in ROUTES.items() for method in methods}


@pytest.mark.parametrize("scopes", SUBSETS, ids=lambda scopes: "+".join(sorted(scope.value for scope in scopes)))
def test_a_key_passes_the_routes_of_its_scopes_and_no_other(key, scopes):
    """CASES S2: every route with every set of scopes; HEAD is as GET, and a method that a route lacks is 405."""
    client = key(*scopes)
    for method, path in GUARDED:
        url = path.replace("{requestId}", "nobody").replace("{group}", "g")
        allowed = Scope.ADMIN in scopes or scopes >= SCOPES[method, path]
        statuses = [client.simulate_request(verb, url).status_code for verb in _same(method)]

        assert [status != 403 for status in statuses] == [allowed] * len(statuses), (method, path)
        assert client.simulate_patch(url).status_code == 405


def _same(method: str) -> tuple[str, ...]:
    return ("GET", "HEAD") if method == "GET" else (method,)


@pytest.mark.parametrize("name", ["done", "failed", "waiting", "unknown"])
def test_a_key_that_may_only_submit_gets_no_outcome_out_of_any_route(ended, name):
    """CASES S2: no answer has the result, or tells how the job ended, whatever is asked for."""
    url = {"url": "https://elsewhere.example/mine"}
    answers = [
        ended.simulate_get(f"/api/status/{name}"),
        ended.simulate_get(f"/api/result/{name}", headers={"Prefer": "wait=1"}),
        ended.simulate_get(f"/api/jobs/{name}"),
        ended.simulate_get("/api/jobs"),
        ended.simulate_get("/api/moves"),
        ended.simulate_get("/api/cost"),
        ended.simulate_post(f"/api/jobs/{name}/retry"),
        ended.simulate_post(f"/api/jobs/{name}/redeliver", json=url),
        ended.simulate_post("/api/redeliver", json={"requestIds": [name, "done"], **url}),
        submit(ended, "next", continueFrom=name),
        submit(ended, "next", {"Prefer": "wait=1"}, continueFrom=name),
        ended.simulate_post("/api/estimate", json={"prompt": "Hei", "continueFrom": name}),
        ended.simulate_post(
            "/api/claude",
            body=f"prompt=Hei&continueFrom={name}",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.text[: answer.text.index("timestamp")] for answer in answers[6:9]}) == 1
    assert not any(SECRET in answer.text for answer in answers)


def test_in_a_bulk_request_continue_from_is_refused_and_the_others_are_accepted(ended):
    """CASES S2: the verdict of the item is 403; blank fields are absent ones."""
    items = [{"prompt": "a", "continueFrom": "done"}, {"prompt": "b"}, {"prompt": "c", "continueFrom": " "}]
    answer = ended.simulate_post("/api/claude/bulk", json=items)

    assert [verdict["statusCode"] for verdict in answer.json] == [403, 202, 202]
    assert "continueFrom" in answer.json[0]["error"]


def test_prefer_wait_is_ignored_with_a_warning_for_a_key_that_may_only_submit(ended, relay):
    """CASES S2: also in a repeated request, whose answer is that of the first one."""
    first = submit(ended, "new", {"Prefer": "wait=55"}, webhookUrl="https://hook.example/in")
    repeated = submit(ended, "done", {"Prefer": "wait=55"}, webhookUrl="https://hook.example/in")

    for answer in (first, repeated):
        assert (answer.status_code, answer.json["status"]) == (202, "pending")
        assert [warning for warning in answer.json["warnings"] if "Prefer" in warning]
        assert SECRET not in answer.text
    assert repeated.json["duplicate"] is True


def test_a_duplicate_does_not_tell_a_submit_only_key_how_the_job_stands(ended, relay, key):
    """CASES S2: single and bulk; a key that may read still gets the present status."""
    reader = key(Scope.SUBMIT, Scope.READ)
    submit(reader, "r-1")
    relay.cancel(JobRef(request_id="r-1", owner="k-read-submit"))
    body = {"prompt": "Hei", "webhookUrl": "https://hook.example/in"}
    items = [{**body, "requestId": name} for name in ("done", "failed", "waiting")]
    bulk = ended.simulate_post("/api/claude/bulk", json=items)

    assert [verdict["status"] for verdict in bulk.json] == ["pending"] * 3
    assert [submit(ended, name, **body).json["status"] for name in ("done", "failed")] == ["pending"] * 2
    assert submit(reader, "r-1").json["status"] == "failed"


def test_cancel_answers_a_submit_only_key_without_the_state(ended, relay):
    """CASES S2: requestId and message; the errors say nothing of how the job ended."""
    cancelled = ended.simulate_post("/api/jobs/waiting/cancel")
    done, failed = (ended.simulate_post(f"/api/jobs/{name}/cancel") for name in ("done", "failed"))

    assert (cancelled.status_code, set(cancelled.json)) == (200, {"requestId", "message"})
    assert relay.queries.status(JobRef(request_id="waiting"))["errorType"] == "cancelled"
    assert (done.status_code, failed.status_code) == (409, 409)
    assert done.json["error"] == failed.json["error"].replace("failed", "done")
    assert ended.simulate_post("/api/jobs/unknown/cancel").status_code == 404


def test_a_purged_job_is_told_to_a_reader_only(relay, key):
    """CASES S2: neither the repeated request nor the cancel tells a submit-only key that the job has ended."""
    clients = {scopes: key(*scopes) for scopes in ((Scope.SUBMIT,), (Scope.SUBMIT, Scope.READ))}
    for client in clients.values():
        submit(client, "old")
    for owner in ("k-submit", "k-read-submit"):
        relay.cancel(JobRef(request_id="old", owner=owner))
    late = time.time() + 1e6
    assert purge(relay._store, late) == 2
    texts = [
        json.dumps([submit(client, "old").json, client.simulate_post("/api/jobs/old/cancel").json])
        for client in clients.values()
    ]

    assert ["purged" in text for text in texts] == [False, True]


def test_more_rows_do_not_tell_a_submit_only_key_that_the_collection_has_ended(relay, key):
    """CASES S2: a closed collection and one whose rows have all ended are refused in the same words."""
    client = key(Scope.SUBMIT)
    body = {"open": True, "template": {"prompt": "Les {{a}}"}, "rows": [{"a": "x"}]}
    for name in ("closed", "ended"):
        client.simulate_post("/api/collections", json={"collectionId": name, **body})
        client.simulate_post(f"/api/collections/{name}/close")
    client.simulate_post("/api/collections/ended/cancel")
    texts = {
        name: [
            client.simulate_post(f"/api/collections/{name}/rows", json={"rows": [{"a": "y"}]}).json["error"],
            client.simulate_post(f"/api/collections/{name}/close").json["error"],
        ]
        for name in ("closed", "ended")
    }

    assert relay.collections.show(CollectionRef(collection_id="ended"))["status"] == "failed"
    assert texts["ended"] == [text.replace("closed", "ended", 1) for text in texts["closed"]]
