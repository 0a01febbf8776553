"""The command line on a remote relay: HTTP errors, and responses that no relay would give."""

from __future__ import annotations

import pytest
import requests
import requests_mock

from claude_relay.cli import completion_values
from claude_relay.config import load
from tests.support.receiver import Answer, Receiver

URL = "http://relay.example:3000"


@pytest.fixture(autouse=True)
def remote(store, monkeypatch):
    monkeypatch.setenv("RELAY_URL", URL)
    monkeypatch.setenv("RELAY_API_KEY", "some-key-of-a-relay")


@pytest.mark.parametrize(
    "answer, code, words",
    [
        ({"text": "<html>a proxy's page</html>"}, 69, "like a relay"),
        ({"status_code": 503, "json": {"error": "the queue is full"}}, 75, "queue is full"),
        ({"status_code": 429, "json": {"error": "too often"}}, 75, "too often"),
        ({"status_code": 401, "json": {"error": "no key"}}, 4, "no key"),
        ({"status_code": 403, "text": "<html>"}, 4, "403"),
        ({"status_code": 502, "text": "<h1>Bad Gateway</h1>"}, 69, "proxy answered 502"),
        ({"status_code": 404, "json": {"error": "no job"}}, 3, "no job"),
        ({"status_code": 500, "json": {"error": "look for abc"}}, 1, "abc"),
        ({"exc": requests.ConnectTimeout}, 69, "Is the API running?"),
        ({"exc": requests.ConnectionError}, 69, "Is the API running?"),
    ],
)
def test_every_response_has_an_exit_code_and_a_message(run, answer, code, words):
    with requests_mock.Mocker() as mock:
        mock.get(f"{URL}/api/status/r-1", **answer)
        got, out, err = run("status", "r-1")

    assert (got, out) == (code, "")
    assert words in err


def test_the_key_is_sent_in_its_header_only(run):
    with requests_mock.Mocker() as mock:
        mock.get(f"{URL}/api/jobs", json={"jobs": [], "cursor": None})
        assert run("list")[0] == 0

    [request] = mock.request_history
    assert request.headers["X-API-Key"] == "some-key-of-a-relay"
    assert "some-key" not in request.url


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_with_the_key_or_the_prompt(run, monkeypatch, status):
    """CASES S8: every verb ends with 69 and the host it was sent to; shell completion offers nothing."""
    with Receiver() as elsewhere, Receiver() as hook:
        monkeypatch.setenv("RELAY_URL", hook.url(""))
        paths = ("/api/claude", "/api/status/r-1", "/api/jobs", "/api/jobs/r-1/cancel", "/api/jobs/r-1/retry")
        for path in (*paths, "/api/redeliver", "/api/overview"):
            target = elsewhere.url("/stolen?token=secret")
            hook.answer(path, Answer(status=status, headers={"Location": target}, body=b""))
        verbs = (
            ("submit", "Hei"),
            ("status", "r-1"),
            ("list",),
            ("cancel", "r-1"),
            ("retry", "--yes", "r-1"),
            ("redeliver", "r-1", "r-2"),
            ("status",),
        )
        for verb in verbs:
            code, out, err = run(*verb)
            assert (code, out) == (69, ""), verb
            assert elsewhere.url("") in err and "RELAY_URL" in err and "secret" not in err

        with pytest.raises(OSError, match=str(status)):
            completion_values._get(load(), "/api/jobs")
        assert len(hook.received) == len(verbs) + 1
        assert not elsewhere.received


def test_a_submission_is_not_retried(run):
    """A POST may have arrived: only the caller, who knows its requestId, can repeat it."""
    with requests_mock.Mocker() as mock:
        mock.post(f"{URL}/api/claude", exc=requests.ConnectionError)
        assert run("submit", "Hei")[0] == 69

    assert mock.call_count == 1


def test_a_page_of_another_site_is_not_printed_as_a_result(run):
    """The output of `result` goes into pipes and files, where a sign-in page must not end up."""
    with requests_mock.Mocker() as mock:
        mock.get(f"{URL}/api/result/r-1", text="<html>Sign in</html>")
        code, out, err = run("result", "r-1")

    assert (code, out) == (69, "")
    assert "like a relay" in err


def test_an_error_does_not_repeat_the_searched_text(run):
    with requests_mock.Mocker() as mock:
        mock.get(f"{URL}/api/jobs", status_code=502, text="<h1>Bad Gateway</h1>")
        code, _, err = run("search", "a-private-word")

    assert code == 69 and "a-private-word" not in err


@pytest.mark.parametrize(
    "answer, code, words",
    [
        ({"json": {}}, 0, ("answers and accepts the key", "none given up")),
        ({"json": {"workers": []}}, 1, ("none was seen lately",)),
        (
            {"json": {"holds": [{"scope": "park", "reason": "spend_limit", "until": None}]}},
            1,
            ("spend_limit", "resume"),
        ),
        ({"status_code": 403, "json": {"error": "no such key"}}, 1, ("no such key", "RELAY_API_KEY")),
        ({"exc": requests.ConnectionError}, 1, ("cannot reach", "RELAY_URL")),
    ],
)
def test_doctor_checks_the_remote_relay_and_not_this_machine(run, answer, code, words):
    """A machine without a store has nothing broken."""
    well = {
        "jobs": {"queued": 0, "held": 0},
        "deliveries": {"pending": 0, "sending": 0, "dead": 0},
        "oldestWaitingSeconds": None,
        "paused": [],
        "holds": [],
        "workers": [{"alive": True}],
    }
    if "json" in answer and "status_code" not in answer:
        answer = {"json": {**well, **answer["json"]}}
    with requests_mock.Mocker() as mock:
        mock.get(f"{URL}/api/overview", **answer)
        got, out, _ = run("doctor")

    assert got == code
    assert all(word in out for word in words), out
    assert "store" not in out
