"""Rules for every path: keys, rate limits, errors, headers, CORS."""

from __future__ import annotations

import pytest
from falcon.testing import TestClient

from claude_relay.api.app import ROUTES
from claude_relay.core.text.rates import Rate

from .conftest import KEY

OPEN = ("/health", "/health/ready", "/", "/openapi.json", "/docs", "/docs/style.css")


def concrete(template: str) -> str:
    return template.replace("{requestId}", "nobody").replace("{group}", "g").replace("{name}", "t")


@pytest.mark.parametrize("path, method", [(path, verb) for path, verbs in ROUTES.items() for verb in verbs])
def test_every_path_requires_a_key(make, path, method):
    """No key is 401, a wrong one 403, whatever its characters; health is open, and an ack URL has a token instead."""
    stranger = TestClient(make().app)
    url = concrete(path)
    none = stranger.simulate_request(method, url)
    wrong = stranger.simulate_request(method, url, headers={"X-API-Key": "wrong"})
    odd = stranger.simulate_request(method, url, headers={"Authorization": "Bearer é\x80"})

    if path in OPEN:
        assert none.status_code in (200, 503)
        return
    if path == "/dashboard":
        assert none.status_code == 404  # not mounted here: tests/dashboard/test_login.py
        return
    if path == "/ack/{token}":
        assert {none.status_code, wrong.status_code, odd.status_code} == {404}
        return
    assert (none.status_code, wrong.status_code, odd.status_code) == (401, 403, 403)
    assert "ApiKey" in none.headers["www-authenticate"]


def test_both_admin_keys_are_valid_during_a_change(make):
    """CASES A16: the old and the new key, and the complete text, which scripts send; after the change one is left."""
    old, new = "the-old-key-of-the-admin", "the-new-key-of-the-admin"
    during, after = make(api_secret_key=f"{old},{new}"), make(api_secret_key=new)

    def statuses(client, *keys):
        return [client.simulate_get("/api/overview", headers={"X-API-Key": key}).status_code for key in keys]

    assert statuses(during, old, new, f"{old},{new}", old[:-1], "", ",") == [200, 200, 200, 403, 401, 403]
    assert statuses(after, old, new, f"{old},{new}") == [403, 200, 403]


def test_a_bearer_token_is_a_key(make):
    client = TestClient(make().app, headers={"Authorization": f"Bearer {KEY}"})

    assert client.simulate_get("/api/jobs").status_code == 200


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/status/nobody", 404),
        ("GET", "/api/status/..%2f..%2fetc", 404),
        ("GET", "/api/status/" + "a" * 200, 404),
        ("GET", "/api/result/nobody", 404),
        ("GET", "/api/jobs/nobody", 404),
        ("POST", "/api/jobs/nobody/cancel", 404),
        ("POST", "/api/jobs/nobody/retry", 404),
        ("POST", "/api/jobs/nobody/redeliver", 404),
        ("DELETE", "/api/claude", 405),
        ("GET", "/api/claude", 405),
        ("TRACE", "/health", 405),
        ("GET", "/api/jobs?limit=0", 400),
        ("GET", "/api/jobs?limit=x", 400),
        ("GET", "/api/jobs?status=happy", 400),
        ("GET", "/api/jobs?since=then", 400),
        ("GET", "/api/jobs?cursor=1", 400),
        ("GET", "/api/collections?cursor=1", 400),
        ("GET", "/api/jobs?dead=perhaps", 400),
        ("GET", "/api/groups/a%20b", 404),
        ("GET", "/api/moves?cursor=-1", 400),
        ("GET", "/api/moves?limit=0", 400),
        ("GET", "/api/moves?limit=501", 400),
    ],
)
def test_every_error_has_the_same_shape(client, method, path, status):
    answer = client.simulate_request(method, path)

    assert status == answer.status_code
    assert status == answer.json["status"]
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json["error"], str)
    assert {"error", "message", "status", "type", "problems", "timestamp"} <= set(answer.json)
    assert "Traceback" not in answer.text
    if status == 405:
        assert answer.headers["allow"]


def test_problem_json_is_sent_if_the_client_accepts_it(client):
    answer = client.simulate_get("/api/status/nobody", headers={"Accept": "application/problem+json"})

    assert answer.headers["content-type"] == "application/problem+json"
    assert {"title", "detail", "instance", "error"} <= set(answer.json)


def test_a_bug_is_a_500_with_an_id_and_no_details(make, relay, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(relay.queries, "status", broken)
    answer = make().simulate_get("/api/status/x")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json["errorId"] in answer.json["error"]
    assert any(getattr(record, "errorId", "") == answer.json["errorId"] for record in caplog.records)


def test_rate_limits_count_by_key_and_are_sent_in_headers(make):
    client = make(rate_limit_submit=Rate(2, 900), rate_limit=Rate(3, 900))
    answers = [client.simulate_post("/api/claude", json={"prompt": "x"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[0].headers["ratelimit-policy"] == '"submit";q=2;w=900'
    assert tuple(answers[0].headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining")) == ("2", "1")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 901
    assert answers[2].json["type"] == "rate_limit"
    assert [client.simulate_get("/health").status_code for _ in range(5)] == [200] * 5


def test_wrong_keys_are_counted_by_ip_address(make):
    stranger = TestClient(make(rate_limit=Rate(2, 900)).app, headers={"X-API-Key": "guess"})

    assert [stranger.simulate_get("/api/jobs").status_code for _ in range(3)] == [403, 403, 429]


def test_every_response_has_the_security_headers(client):
    for path in ("/health", "/api/jobs", "/nowhere"):
        headers = client.simulate_get(path).headers

        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_cors_allows_the_configured_origins(make):
    """A preflight carries no key; other origins are not allowed."""
    client = TestClient(make(allowed_origins=("https://a.example",)).app)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = client.simulate_options("/api/claude", headers={"Origin": "https://a.example", **asked})
    stranger = client.simulate_options("/api/claude", headers={"Origin": "https://b.example", **asked})

    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    assert "X-API-Key" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in stranger.headers


def test_the_health_body_has_the_keys_of_the_contract(client):
    body = client.simulate_get("/health").json

    assert list(body) == ["status", "timestamp", "uptime", "environment"]
    assert body["status"] == "healthy"


def test_readiness_gives_a_reason_each(client):
    answer = client.simulate_get("/health/ready")

    assert answer.status_code == 503
    assert any("worker" in reason for reason in answer.json["reasons"])
