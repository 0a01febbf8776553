"""`claude-relay alerts` sends the due alerts, without a daemon, an Anthropic key or an API key."""

from __future__ import annotations

import base64
import json

import pytest
import standardwebhooks

from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.systemd import alert_trigger
from tests.support.builders import a_failure, a_submission
from tests.support.receiver import Answer, Receiver

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.fixture
def park(relay):
    """A cause for an alert."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(ErrorType.PERMISSION, Remedy.PARK))


@pytest.mark.usefixtures("park")
def test_a_due_alert_is_sent_once_and_signed(run, monkeypatch):
    with Receiver() as hook:
        monkeypatch.setenv("RELAY_ALERT_URL", hook.url("/alert"))
        monkeypatch.setenv("RELAY_WEBHOOK_SECRET", SECRET)
        first, again = run("alerts"), run("alerts")
        [received] = hook.received

    assert first[0] == again[0] == 0
    assert "Alerts sent: 1." in first[2] and "Alerts sent: 0." in again[2]
    assert received.json["alert"] == "queue_parked"
    standardwebhooks.Webhook(SECRET).verify(received.body, received.headers)


@pytest.mark.usefixtures("park")
def test_a_refused_alert_is_retried_later_and_is_no_failure_of_the_verb(run, monkeypatch):
    with Receiver() as hook:
        hook.answer("/alert", Answer(status=503))
        monkeypatch.setenv("RELAY_ALERT_URL", hook.url("/alert"))
        code, out, err = run("alerts")
        assert (code, out) == (0, "")
        assert "alert not delivered" in err and "Alerts sent: 0." in err
        assert run("alerts")[0] == 0
        assert len(hook.received) == 1  # its next attempt is a minute away


@pytest.mark.usefixtures("park")
def test_json_says_how_many_were_sent(run, monkeypatch):
    assert json.loads(run("alerts", "--json")[1]) == {"sent": 0, "alertUrl": False}
    with Receiver() as hook:
        monkeypatch.setenv("RELAY_ALERT_URL", hook.url("/alert"))
        assert json.loads(run("alerts", "--json")[1]) == {"sent": 1, "alertUrl": True}


@pytest.mark.usefixtures("park")
def test_without_a_url_the_alerts_are_in_the_log(run):
    code, _, err = run("alerts")

    assert code == 0
    assert "RELAY_ALERT_URL is not set" in err and "queue is parked" in err


def test_without_a_store_it_names_the_next_command(run):
    code, _, err = run("alerts")

    assert code != 0 and "claude-relay" in err.replace("claude-relay:", "", 1)


def test_word_that_the_api_has_failed_is_told_also_without_a_store(run, monkeypatch, tmp_path):
    """CASES A13: the first start of all; the file that systemd left is taken away."""
    word = tmp_path / "api.failed"
    word.touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with Receiver() as hook:
        monkeypatch.setenv("RELAY_ALERT_URL", hook.url("/alert"))
        code, _, _ = run("alerts")
        [received] = hook.received

    assert (code, received.json["alert"], word.exists()) == (0, "no_api", False)


def test_one_outage_of_the_store_is_one_alert_however_often_it_is_triggered(run, monkeypatch, tmp_path):
    """CASES A3: a hardened API sets its trigger up to five times, and does not learn whether the alert was accepted."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RELAY_STORE", "postgresql://nobody:x@127.0.0.1:1/relay?connect_timeout=2")
    trigger = alert_trigger.leaving({"STATE_DIRECTORY": str(tmp_path)})
    assert trigger is not None
    with Receiver({"/alert": [Answer(status=503), Answer(status=200)]}) as hook:
        monkeypatch.setenv("RELAY_ALERT_URL", hook.url("/alert"))
        for since in (1000.5, 1000.5, 1000.5, 1000.5, 2000.5, 2000.5):
            trigger(since)
            assert run("alerts")[0] == 0
        sent = [(item.headers["webhook-id"], item.json["alert"]) for item in hook.received]

    # The first one was refused, and so is sent again; another outage is another alert.
    assert sent == [(f"alert_store_away_{at}", "store_away") for at in (1000, 1000, 2000)]


@pytest.mark.parametrize("fault", ["value", "unreadable"])
def test_settings_with_which_no_daemon_starts_are_an_alert_too(run, monkeypatch, tmp_path, fault):
    """A sibling of CASES A13 and A6: its URL is a credential, and a fault of another setting does not matter."""
    (tmp_path / "api.failed").touch()
    file = tmp_path / "claude-relay.env"
    file.write_text("RELAY_MAX_QUEUE=abc\n")
    if fault == "unreadable":
        file.unlink()
        file.mkdir()  # root can read every file
    monkeypatch.setenv("CLAUDE_RELAY_SETTINGS", str(file))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with Receiver() as hook:
        monkeypatch.setenv("RELAY_ALERT_URL", hook.url("/alert"))
        code, _, err = run("alerts")
        [received] = hook.received

    assert (code, received.json["alert"]) == (0, "no_api")
    assert ("RELAY_MAX_QUEUE" if fault == "value" else str(file)) in err


def test_a_fault_of_the_store_s_name_sends_no_alert_to_another_store(run, monkeypatch, tmp_path):
    """The alert would be kept in a store that no daemon uses."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RELAY_STORE", "mysql://host/x")

    assert run("alerts")[0] == 78


def test_an_api_that_starts_removes_the_word_of_its_failure(tmp_path):
    """Left behind where no alert could be sent, it would be told while the API runs."""
    word = tmp_path / "api.failed"
    word.touch()
    alert_trigger.api_started({"STATE_DIRECTORY": str(tmp_path)})
    alert_trigger.api_started({})

    assert not word.exists()
