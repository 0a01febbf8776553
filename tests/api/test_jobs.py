"""Jobs over HTTP: status, result, lists and actions."""

from __future__ import annotations

import pytest

from claude_relay.core.jobs.failure import Remedy
from claude_relay.core.keys import Scope
from tests.support.builders import a_completion, a_failure, a_submission


def finish(relay, request_id, end=None):
    relay.submit(a_submission(request_id))
    [claimed] = relay.execution.claim("w", limit=1)
    if end is None:
        relay.execution.complete(claimed, a_completion())
    else:
        relay.execution.fail(claimed, end)


def test_status_begins_with_the_keys_of_the_contract(client, relay):
    relay.submit(a_submission("r-1", metadata={"row": 7}))
    body = client.simulate_get("/api/status/r-1").json

    assert list(body)[:6] == ["requestId", "status", "createdAt", "updatedAt", "promptLength", "responseLength"]
    assert (body["status"], body["position"], body["metadata"]) == ("pending", 1, {"row": 7})
    assert body["delivery"] == {"status": "none", "attempts": 0, "lastStatusCode": None, "nextAttemptAt": None}


def test_a_result_is_202_until_the_run_has_ended_and_then_the_callback_bytes(client, relay):
    relay.submit(a_submission("r-1"))
    pending = client.simulate_get("/api/result/r-1")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion("Svar med æøå"))
    ended = client.simulate_get("/api/result/r-1")

    assert (pending.status_code, pending.json["status"]) == (202, "pending")
    assert (ended.status_code, ended.json["response"]) == (200, "Svar med æøå")
    assert ended.headers["cache-control"] == "no-store"


def test_lists_are_newest_first_and_paged_by_keyset(client, relay):
    for number in range(5):
        relay.submit(a_submission(f"r-{number}"))
    first = client.simulate_get("/api/jobs", params={"limit": "2"}).json
    relay.submit(a_submission("newer"))
    second = client.simulate_get("/api/jobs", params={"limit": "2", "cursor": first["cursor"]}).json
    third = client.simulate_get("/api/jobs", params={"limit": "2", "cursor": second["cursor"]}).json

    pages = [[job["requestId"] for job in page["jobs"]] for page in (first, second, third)]
    assert len({name for page in pages for name in page}) == 5
    assert (*map(len, pages), third["cursor"]) == (2, 2, 1, None)


def test_lists_filter(client, relay):
    finish(relay, "good")
    finish(relay, "bad", a_failure(remedy=Remedy.FAIL))
    relay.submit(a_submission("other", group="g2", request={"prompt": "a needle here"}))

    def names(**params: str) -> set[str]:
        return {job["requestId"] for job in client.simulate_get("/api/jobs", params=params).json["jobs"]}

    assert {"good"} == names(status="completed")
    assert {"bad", "good"} == names(status="completed,failed")
    assert {"other"} == names(group="g2") == names(q="needle") == names(status="pending")
    assert {"good", "bad", "other"} == names(since="1h")
    assert set() == names(since="2999-01-01T00:00:00Z")


def test_job_details_show_the_ledger_and_never_the_webhook_headers(client, relay):
    relay.submit(a_submission("r-1", webhook_headers={"x-make-apikey": "very-secret"}))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.complete(claimed, a_completion())
    answer = client.simulate_get("/api/jobs/r-1")
    [call] = answer.json["calls"]

    assert {"startedAt", "endedAt", "sent", "upstreamRequestId", "model", "outcome", "usage", "costUsd"} <= set(call)
    assert (call["sent"], call["outcome"]) == (True, "completed")
    assert [event["event"] for event in answer.json["events"]] == ["submitted", "claimed", "completed"]
    assert "very-secret" not in answer.text


def test_cancel_retry_redeliver(client, relay):
    """Each action is 409 in a state that does not allow it."""
    relay.submit(a_submission("r-1"))
    post = client.simulate_post

    assert post("/api/jobs/r-1/retry").status_code == 409
    assert post("/api/jobs/r-1/redeliver").status_code == 409
    cancelled = post("/api/jobs/r-1/cancel")
    assert cancelled.status_code == 200
    assert (cancelled.json["status"], cancelled.json["errorType"]) == ("failed", "cancelled")
    assert post("/api/jobs/r-1/cancel").status_code == 409
    retried = post("/api/jobs/r-1/retry", json={"options": {"maxTokens": 7}})
    assert (retried.status_code, retried.json["status"]) == (202, "pending")
    assert client.simulate_get("/api/jobs/r-1").json["request"]["options"]["maxTokens"] == 7
    assert post("/api/jobs/r-1/retry", json={"options": {"maxTokens": 0}}).status_code == 400
    assert post("/api/jobs/r-1/retry", json={"prompt": "other"}).status_code == 400


def test_redeliver_without_a_webhook_is_a_conflict_unless_one_is_named(client, relay):
    relay.submit(a_submission("r-1", webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())

    assert client.simulate_post("/api/jobs/r-1/redeliver").status_code == 409
    assert client.simulate_post("/api/jobs/r-1/redeliver", json={"url": "http://10.0.0.1/"}).status_code == 400
    for misspelt in ("to", "webhookUrl"):
        answer = client.simulate_post("/api/jobs/r-1/redeliver", json={misspelt: "https://a.example/x"})
        assert answer.status_code == 400  # and is not sent to the old address in silence
        assert answer.json["problems"] == [{"field": misspelt, "problem": "is not a field here: only url is"}]
    answer = client.simulate_post("/api/jobs/r-1/redeliver", json={"url": "https://a.example/x"})
    assert (answer.status_code, answer.json["delivery"]["status"]) == (202, "pending")


def test_groups_are_set_read_paused_and_resumed(client):
    answer = client.simulate_post("/api/groups/g", json={"concurrency": 2, "rate": 30})
    assert answer.json == {"group": "g", "concurrency": 2, "rate": 30.0, "paused": False, "running": 0}
    assert client.simulate_post("/api/groups/g/pause").json["paused"]
    assert not client.simulate_post("/api/groups/g/resume").json["paused"]
    assert client.simulate_post("/api/groups/g", json={"concurrency": None}).json["concurrency"] is None
    assert client.simulate_post("/api/groups/g", json={"concurrency": 0}).status_code == 400
    assert client.simulate_post("/api/groups/g", json={"rate": "often"}).status_code == 400


@pytest.mark.parametrize("number", [2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**19, "9" * 30, -(2**63), 1e300])
def test_a_whole_number_that_no_store_can_hold_is_refused_by_name(client, number):
    """CASES S14: 500 from PostgreSQL at 2**31 and from SQLite at 2**63."""
    refused = client.simulate_post("/api/groups/g", json={"concurrency": number, "rate": number})

    assert (refused.status_code, [problem["field"] for problem in refused.json["problems"]]) == (
        400,
        ["concurrency", "rate"] if abs(float(number)) > 1e9 else ["concurrency"],
    )
    assert client.simulate_post("/api/groups/g", json={"concurrency": 2**31 - 1}).status_code == 200
    assert client.simulate_post("/api/groups/g", json={"rate": 5e-324}).status_code == 400


@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, 10**19])
def test_a_whole_number_out_of_range_is_never_an_internal_error(client, number):
    """CASES S14: every place where a caller may send a whole number."""
    fields = [
        "priority",
        "maxCostUsd",
        "options.maxTokens",
        "options.temperature",
        "metadata.n",
        "delay",
        "options.raw.n",
    ]
    for field in fields:
        body: dict[str, object] = {"prompt": "x"}
        outer, _, inner = field.partition(".")
        name, _, last = inner.partition(".")
        body[outer] = {name: {last: number} if last else number} if inner else number
        assert client.simulate_post("/api/claude", json=body).status_code in {202, 400}, field
    for path in ("/api/jobs?limit={}", "/api/jobs?since={}d", "/api/moves?cursor={}", "/api/cost?since={}d"):
        assert client.simulate_get(path.format(number)).status_code in {200, 400}, path
    headers = {"Prefer": f"wait={number}"}
    assert client.simulate_get("/api/result/none", headers=headers).status_code == 404


@pytest.mark.parametrize("schema", [{"$schema": 7}, {"$schema": "http://["}, {"$schema": {}}, {"$ref": "http://["}])
def test_a_schema_that_names_no_draft_is_a_400(client, schema):
    """CASES S14"""
    answer = client.simulate_post("/api/claude", json={"prompt": "x", "options": {"outputSchema": schema}})

    assert (answer.status_code, answer.json["problems"][0]["field"]) == (400, "options.outputSchema")


@pytest.mark.parametrize(
    "body",
    [{"concurrency": 0}, {"concurrency": 1.5}, {"concurrency": "inf"}, {"concurrency": True}, {"rate": 0},
     {"rate": "nan"}, {"rate": "inf"}, {"rate": []}, {"concurency": 2}, {"paused": True}],
)  # fmt: skip
def test_invalid_group_limits_leave_the_group_unchanged(client, body):
    """A misspelt field is refused, too: otherwise it would limit nothing, in silence."""
    client.simulate_post("/api/groups/g", json={"concurrency": 2, "rate": 30})
    refused = client.simulate_post("/api/groups/g", json=body)

    assert (refused.status_code, refused.json["problems"][0]["field"]) == (400, next(iter(body)))
    assert client.simulate_get("/api/groups/g").json["concurrency"] == 2


def test_a_bulk_redelivery_selects_by_the_filters_of_the_list(client, relay):
    """CASES A14: the same names in a body as in a query; never the jobs of another key."""
    for name in ("r-1", "r-2"):
        finish(relay, name)
    other = relay.keys.add("other", frozenset({Scope.SUBMIT, Scope.READ}))[1]

    def redeliver(body, **headers):
        return client.simulate_post("/api/redeliver", json=body, headers=headers)

    answer = redeliver({"status": "completed", "since": "1h", "host": "hook.example"})
    assert answer.status_code == 207
    assert {item["requestId"]: item["statusCode"] for item in answer.json} == {"r-2": 409, "r-1": 409}
    assert redeliver({"since": "1h"}).json == []
    assert redeliver({"status": "completed"}, **{"X-API-Key": other}).json == []
    refused = redeliver({"error": "sad", "colour": "red"})
    assert [problem["field"] for problem in refused.json["problems"]] == ["colour", "error"]
    assert [p["field"] for p in redeliver({"error": "sad"}).json["problems"]] == ["error"]
    assert [p["field"] for p in redeliver({"requestIds": ["r-1"], "host": "a"}).json["problems"]] == ["requestIds"]


def test_a_drained_relay_answers_503_until_it_is_resumed(client, relay):
    """CASES A15: over HTTP for the admin; the 503 says why and when to come back."""
    assert client.simulate_post("/api/drain", json={"runWaiting": "yes", "x": 1}).status_code == 400
    body = client.simulate_post("/api/drain").json
    assert (body["drain"]["idle"], body["drain"]["runWaiting"]) == (False, False)

    refused = client.simulate_post("/api/claude", json={"prompt": "Hei"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert "maintenance" in refused.json["error"]
    assert client.simulate_get("/health").status_code == 200
    ready = client.simulate_get("/health/ready")
    assert ready.status_code == 503 and any("drained" in reason for reason in ready.json["reasons"])

    assert client.simulate_post("/api/resume").json["drain"] is None
    assert client.simulate_post("/api/claude", json={"prompt": "Hei"}).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        (
            "GET",
            "/api/jobs?status=a&error=b&since=c&until=d&limit=0&cursor=e&dead=f",
            "status error since until limit cursor dead",
        ),
        ("GET", "/api/cost?by=a&cursor=b&since=c", "since cursor by"),
        ("GET", "/api/moves?cursor=a&limit=b", "cursor limit"),
        ("GET", "/api/events?status=a&text=b&after=c", "status text after"),
        ("GET", "/api/collections?limit=a&cursor=b", "limit cursor"),
        ("POST", "/api/redeliver", "colour error url"),
        ("POST", "/api/jobs/r-1/redeliver", "colour error url"),
    ],
)
def test_every_bad_parameter_is_named_at_once(client, method, path, fields):
    """One sentence with all of them, as for a submit."""
    body = {"colour": 1, "error": "b", "url": "ftp://c"} if method == "POST" else None
    refused = client.simulate_request(method, path, json=body)

    assert refused.status_code == 400
    assert [problem["field"] for problem in refused.json["problems"]] == fields.split()
    assert refused.json["error"].count("; ") >= len(fields.split()) - 1
