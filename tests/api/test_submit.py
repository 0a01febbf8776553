"""Submit over HTTP: accepted and refused bodies. A refused body is never stored."""

from __future__ import annotations

import json

import pytest
from falcon.testing import TestClient

from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion


def stored(relay: Relay) -> int:
    return sum(relay.queries.overview()["jobs"].values())


def submit(client: TestClient, **body: object):
    return client.simulate_post("/api/claude", json={"prompt": "Hei", **body})


def test_a_prompt_is_accepted_with_the_keys_of_the_contract(client, relay):
    """202, its four keys, and the URL of the status."""
    answer = submit(client, requestId="r-1")

    assert answer.status_code == 202
    assert tuple(answer.json[key] for key in ("message", "requestId", "status")) == (
        "Request accepted and processing",
        "r-1",
        "pending",
    )
    assert answer.headers["location"] == answer.json["statusUrl"] == "http://falconframework.org/api/status/r-1"
    assert answer.headers["retry-after"].isdigit()
    assert answer.json["timestamp"].endswith("Z") and len(answer.json["timestamp"]) == 24
    assert stored(relay) == 1


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_an_empty_webhook_url_is_told_in_the_message(client, blank):
    """CASES N15: it counts as absent; the message says so, and where the result is; in bulk and for a repeat, too."""
    body = {"prompt": "Hei", "requestId": "r-1", "webhookUrl": blank}
    first = client.simulate_post("/api/claude", json=body).json
    [again] = client.simulate_post("/api/claude/bulk", json=[body]).json

    for answer in (first, again):
        assert answer["message"].startswith("Request accepted and processing")
        assert "there is no webhook" in answer["message"]
        assert answer["message"].endswith("http://falconframework.org/api/result/r-1")


def test_a_repeated_body_is_the_same_job_and_another_body_is_a_conflict(client, relay):
    """JSON and form alike."""
    submit(client, requestId="r-1")
    again = submit(client, requestId="r-1")
    as_form = client.simulate_post(
        "/api/claude",
        params={},
        body="prompt=Hei&requestId=r-1",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    other = submit(client, requestId="r-1", prompt="Hallo")

    assert [(answer.status_code, answer.json["duplicate"]) for answer in (again, as_form)] == [(202, True), (202, True)]
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json["type"]) == (409, "conflict")
    assert stored(relay) == 1


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("relay.example.com", "http://relay.example.com"),
        ("10.0.0.7:3000", "http://10.0.0.7:3000"),
        ("[::1]:3000", "http://[::1]:3000"),
        ('evil"onload=x', ""),
        ("a b", ""),
    ],
)
def test_the_status_url_has_the_host_of_the_request(client, host, base):
    """An invalid host is not echoed."""
    answer = client.simulate_post("/api/claude", json={"prompt": "Hei", "requestId": "r-1"}, headers={"Host": host})

    assert answer.json["statusUrl"] == f"{base}/api/status/r-1"


def test_the_status_url_begins_with_the_public_url_if_one_is_set(make, tmp_path):
    policy = Policy(public_url="https://relay.example.com/")
    relay = Relay(SqliteStore(tmp_path / "public.db"), QuietNotifier(), policy)
    client = make(relay)
    [item] = client.simulate_post("/api/claude/bulk", json=[{"prompt": "Hei", "requestId": "r-1"}]).json
    relay.close()

    assert item["statusUrl"] == "https://relay.example.com/api/status/r-1"


def test_the_idempotency_key_is_the_request_id(client):
    answer = client.simulate_post("/api/claude", json={"prompt": "Hei"}, headers={"Idempotency-Key": '"k-1"'})

    assert answer.json["requestId"] == "k-1"


@pytest.mark.parametrize(
    "body, field",
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "y"}]}, "messages"),
        ({"prompt": "x", "webhookUrl": "ftp://a.b/c"}, "webhookUrl"),
        ({"prompt": "x", "webhookUrl": "http://127.0.0.1/c"}, "webhookUrl"),
        ({"prompt": "x", "webhookURL": "https://a.example/c"}, "webhookURL"),
        ({"prompt": "x", "requestId": "../etc"}, "requestId"),
        ({"prompt": "x", "requestId": "a" * 129}, "requestId"),
        ({"prompt": "x", "options": {"maxTokens": 0}}, "options.maxTokens"),
        ({"prompt": "x", "options": {"maxTokens": 1.5}}, "options.maxTokens"),
        ({"prompt": "x", "options": {"temperature": 1.01}}, "options.temperature"),
        ({"prompt": "x", "options": {"effort": "huge"}}, "options.effort"),
        ({"prompt": "x", "options": {"outputSchema": {"type": "nothing"}}}, "options.outputSchema"),
        ({"prompt": "x", "options": "fast"}, "options"),
        ({"prompt": "x", "priority": 86401}, "priority"),
        ({"prompt": "x", "group": "a b"}, "group"),
        ({"prompt": "x", "metadata": {"a": "x" * 16400}}, "metadata"),
        ({"prompt": "x", "files": [{"data": "!!!"}]}, "files[0].data"),
        ({"prompt": "x", "onInterrupt": "never"}, "onInterrupt"),
        ({"prompt": "x", "retain": "none"}, "retain"),
        ({"prompt": "x", "deadline": "yesterday"}, "deadline"),
        ({"prompt": "x", "delay": "5 parsecs"}, "delay"),
        ({"prompt": "x", "webhookHeaders": {"Host": "x"}}, "webhookHeaders"),
        ({"prompt": "x", "webhookHeaders": {"x-a": "b\r\nc: d"}}, "webhookHeaders"),
        ({"prompt": "x", "webhookHeaders": {f"x-{n}": "b" for n in range(11)}}, "webhookHeaders"),
        ({"prompt": "x", "mode": "sometimes"}, "mode"),
        ({"prompt": "x", "continueFrom": "r-0"}, "continueFrom"),
    ],
)  # fmt: skip
def test_an_invalid_field_is_named_in_the_problems(client, relay, body, field):
    answer = client.simulate_post("/api/claude", json=body)

    assert answer.status_code == 400
    assert isinstance(answer.json["error"], str) and answer.json["error"]
    assert any(problem["field"].startswith(field) for problem in answer.json["problems"]), answer.json["problems"]
    assert stored(relay) == 0


def test_all_problems_are_reported_at_once(client):
    body = {"prompt": "", "requestId": "/", "priority": -1, "group": "?"}
    answer = client.simulate_post("/api/claude", json=body)

    assert {"prompt", "requestId", "priority", "group"} == {problem["field"] for problem in answer.json["problems"]}


@pytest.mark.parametrize(
    "raw, words",
    [
        (b'{"prompt": "line one\nline two"}', "line 1"),
        (b'{"prompt": "she said "hello" twice"}', "line 1"),
        (b'{"prompt": "a", "prompt": "b"}', "prompt"),
        (b'{"prompt": "a", "priority": NaN}', "NaN"),
        (b'{"prompt": "\\ud800"}', "prompt"),
        (b'{"prompt": ' + b"[" * 101 + b"]" * 101 + b"}", "100"),
        (b"[" * 100_000, "100"),
        (b"\xff\xfe", "UTF-8"),
        (b"", "body"),
    ],
)
def test_broken_json_is_explained(client, relay, raw, words):
    """As Make produces it, and worse: a message with the position, never a traceback, nothing stored."""
    answer = client.simulate_post("/api/claude", body=raw, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert words.lower() in json.dumps(answer.json).lower()
    assert stored(relay) == 0


def test_sloppy_fields_are_accepted_with_a_warning(client):
    options = {"maxTokens": "4096", "temperature": 1, "model": "claude-3-5-sonnet-20241022"}
    answer = submit(client, webhookUrl="", group=None, options=options, colour="red")

    warnings = " ".join(answer.json["warnings"])
    assert answer.status_code == 202
    assert all(word in warnings for word in ("maxTokens", "temperature", "claude-3-5-sonnet-20241022", "colour"))


@pytest.mark.parametrize("kind", ["text/plain", "multipart/mixed; boundary=x", "application/xml"])
def test_another_content_type_is_415(client, kind):
    answer = client.simulate_post("/api/claude", body="prompt=x", headers={"Content-Type": kind})

    assert (answer.status_code, answer.json["type"]) == (415, "unsupported_media_type")


def test_a_content_encoding_is_415(client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert client.simulate_post("/api/claude", body=b"x", headers=headers).status_code == 415


def test_a_body_over_the_limit_is_413_and_one_at_it_is_not(make, relay):
    client = make(max_body=2048)
    fits = json.dumps({"prompt": ""})
    body = json.dumps({"prompt": "x" * (2048 - len(fits))})
    headers = {"Content-Type": "application/json"}

    assert client.simulate_post("/api/claude", body=body, headers=headers).status_code == 202
    assert client.simulate_post("/api/claude", body=body + " ", headers=headers).status_code == 413
    assert stored(relay) == 1


def test_bulk_returns_a_result_per_item(client, relay):
    """An invalid item does not stop the others; NDJSON and arrays alike."""
    answer = client.simulate_post("/api/claude/bulk", json=[{"prompt": "a"}, {"prompt": ""}, 7, {"prompt": "b"}])
    lines = client.simulate_post(
        "/api/claude/bulk", body=b'{"prompt": "c"}\n\n{"prompt": \n{"prompt": "d"}\n',
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip

    assert (answer.status_code, [item["statusCode"] for item in answer.json]) == (207, [202, 400, 400, 202])
    assert [item["index"] for item in answer.json] == [0, 1, 2, 3]
    assert [item["statusCode"] for item in lines.json] == [202, 400, 202]
    assert "at line 3, column 12" in lines.json[1]["error"]
    assert stored(relay) == 4


def test_bulk_accepts_at_most_a_thousand_items(client, relay):
    assert client.simulate_post("/api/claude/bulk", json=[{"prompt": "a"}] * 1000).status_code == 207
    assert client.simulate_post("/api/claude/bulk", json=[{"prompt": "a"}] * 1001).status_code == 400
    assert stored(relay) == 1000


def test_prefer_wait_returns_the_body_of_the_callback(client, relay):
    """A job that ends in time is 200 with the bytes that the webhook gets."""
    submit(client, requestId="r-1")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    answer = client.simulate_post(
        "/api/claude", json={"prompt": "Hei", "requestId": "r-1"}, headers={"Prefer": "wait=5"}
    )

    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=5")
    assert answer.content == client.simulate_get("/api/result/r-1").content


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    "body",
    [
        "prompt=Summarise Tom & Jerry 100%",
        "prompt=Summarise+Tom+&+Jerry",
        "prompt=Tom && Jerry",
        "prompt=Tom & Jerry = friends",
        "prompt",
        "prompt=x&webhookUrl",
    ],
)
def test_a_form_part_without_an_equals_sign_is_refused(client, relay, body):
    """CASES F25: Claude was paid to read "Summarise Tom "."""
    answer = client.simulate_post("/api/claude", body=body, headers=FORM)

    assert answer.status_code == 400
    assert "& must be sent as %26" in answer.json["error"]
    assert stored(relay) == 0


def test_empty_form_parts_and_values_are_harmless(client):
    """CASES F25"""
    assert client.simulate_post("/api/claude", body="prompt=a%26b&&webhookUrl=&", headers=FORM).status_code == 202


@pytest.mark.parametrize(
    "body",
    ['{"prompt":"hi"}', ' \n{"prompt":"a=b&c=d"}', "%7B%22prompt%22%3A%22hi%22%7D", '[{"prompt":"hi"}]', "\ufeff{}"],
)
@pytest.mark.parametrize("path", ["/api/claude", "/api/claude/bulk", "/api/estimate"])
def test_json_under_the_content_type_of_a_form_is_told_the_header(client, relay, body, path):
    """CASES F14: `curl -d` without a content type was told that the prompt is required."""
    answer = client.simulate_post(path, body=body.encode(), headers=FORM)

    assert answer.status_code == 400
    assert "add the header Content-Type: application/json" in answer.json["error"]
    assert stored(relay) == 0
