"""`/ack/{token}`: no key, no rate limit, no information for guesses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from falcon.testing import TestClient

from claude_relay.core.policy import Policy
from claude_relay.core.text.rates import Rate
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_submission

PUBLIC = "https://relay.example.com"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy(public_url=PUBLIC))
    yield relay
    relay.close()


@pytest.fixture
def path(relay: Relay) -> str:
    """The path that acknowledges the result of job r."""
    relay.submit(a_submission("r", webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    body = json.loads(relay.queries.result(JobRef(request_id="r")) or b"")

    return str(body["ackUrl"].removeprefix(PUBLIC))


@pytest.fixture
def stranger(make) -> TestClient:  # type: ignore[no-untyped-def]
    return TestClient(make(rate_limit=Rate(1, 900.0)).app)


def acked(relay: Relay) -> str | None:
    acked: str | None = relay.queries.status(JobRef(request_id="r"))["acked"]
    return acked


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_get_and_post_acknowledge_and_are_200_every_time(
    relay: Relay, stranger: TestClient, path: str, method: str
) -> None:
    """With any body, and without counting against a rate limit."""
    answers = [stranger.simulate_request(method, path, body="anything") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json == answers[2].json == {"status": "acked", "requestId": "r", "acked": acked(relay)}
    assert answers[0].headers["cache-control"] == "no-store"
    assert not [name for name in answers[0].headers if "ratelimit" in name.lower()]


def test_other_methods_acknowledge_nothing(relay: Relay, stranger: TestClient, path: str) -> None:
    """Link previews send HEAD."""
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        assert stranger.simulate_request(method, path).status_code == (200 if method == "OPTIONS" else 405)

    assert acked(relay) is None


@pytest.mark.parametrize(
    "header",
    [("Purpose", "prefetch"), ("Sec-Purpose", "prefetch;prerender"), ("X-Purpose", "preview"), ("X-Moz", "prefetch")],
)
def test_a_link_preview_acknowledges_nothing(
    relay: Relay, stranger: TestClient, path: str, header: tuple[str, str]
) -> None:
    """CASES S17: mail programs and chats fetch links before a person opens them."""
    assert stranger.simulate_get(path, headers=dict([header])).status_code == 403
    assert acked(relay) is None
    assert stranger.simulate_get(path, headers={header[0]: "navigation"}).status_code == 200


@pytest.mark.parametrize("made_up", ["x", "A" * 52, "%00", "%F0%9F%92%A9", "..", "a/b", "A" * 5000])
def test_an_invalid_token_is_404(stranger: TestClient, path: str, made_up: str) -> None:
    answer = stranger.simulate_get(f"/ack/{made_up}")

    assert (answer.status_code, answer.json["type"], answer.json["status"]) == (404, "not_found", 404)


def test_one_wrong_character_is_404_and_acknowledges_nothing(relay: Relay, stranger: TestClient, path: str) -> None:
    other = path[:-1] + ("A" if path[-1] != "A" else "B")

    assert stranger.simulate_post(other).status_code == 404
    assert acked(relay) is None


def test_a_wrong_token_does_not_reach_the_store(
    relay: Relay, stranger: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no rate limit, so it must cost next to nothing."""
    assert stranger.simulate_get("/ack/" + "A" * 52).status_code == 404

    def refuse(*_: object) -> None:
        raise AssertionError("a guess came to the store")

    monkeypatch.setattr(SqliteStore, "read", refuse)
    monkeypatch.setattr(SqliteStore, "write", refuse)
    for _ in range(100):
        assert stranger.simulate_get("/ack/" + "A" * 52).status_code == 404


def test_the_log_of_a_bug_does_not_contain_the_token(
    stranger: TestClient, path: str, relay: Relay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(token: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(relay.acks, "ack", broken)
    assert stranger.simulate_post(path).status_code == 500

    [logged] = [record for record in caplog.records if record.message == "request failed"]
    assert logged.path == "/ack/{token}"  # type: ignore[attr-defined]
    assert path.removeprefix("/ack/") not in repr(vars(logged))
