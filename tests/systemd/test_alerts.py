"""A server without a live worker: the API notices but has no network, so a unit with network sends the alert."""

from __future__ import annotations

import base64

import pytest
import standardwebhooks

from tests.support.receiver import Receiver

from .machine import ALERTS, API, PATH, TARGET, WORKER, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]  # the first one makes the box

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def test_that_there_is_no_worker_is_told_from_a_server_whose_api_has_no_network(machine: Machine) -> None:
    """Once for each outage, signed; and no process runs for it otherwise."""
    machine.patience(15)
    machine.key("RELAY_WEBHOOK_SECRET", SECRET)
    with machine.inside(Receiver) as hook:
        machine.key("RELAY_ALERT_URL", hook.url("/alert", host="localhost"))
        machine.systemctl("start", TARGET)
        machine.active(WORKER)
        machine.active(API)
        for times in (1, 2):
            machine.submit(requestId=f"well-{times}")
            machine.finished(f"well-{times}")
            assert machine.show(ALERTS, "ActiveState")["ActiveState"] == "inactive"
            machine.systemctl("stop", WORKER)
            machine.submit(requestId=f"waits-{times}")
            told = hook.wait_for(times, timeout=60)[-1]
            standardwebhooks.Webhook(SECRET).verify(told.body, told.headers)
            assert (told.json["alert"], told.json["count"]) == ("no_worker", 1)
            machine.systemctl("start", WORKER)
            machine.finished(f"waits-{times}")
        first, second = (one.headers["webhook-id"] for one in hook.received)

    assert first != second
    # Each of them by the one that was called for it, which was not called again.
    entries = machine.journal(ALERTS)
    assert [entry["MESSAGE"] for entry in entries if "Alerts sent" in entry["MESSAGE"]] == ["Alerts sent: 1."] * 2
    assert machine.show(PATH, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "waiting"}
    assert machine.show(API, "PrivateNetwork")["PrivateNetwork"] == "yes"
