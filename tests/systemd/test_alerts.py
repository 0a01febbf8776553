"""A server without a live worker: the API notices but has no network, so a unit with network sends the alert."""

from __future__ import annotations

import base64
import socket

import pytest
import standardwebhooks

from tests.support.eventually import eventually
from tests.support.receiver import Receiver

from .machine import ALERTS, API, KEY, PATH, STATE, TARGET, WORKER, Machine

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
            eventually(lambda: machine.show(ALERTS, "ActiveState")["ActiveState"] == "inactive", every=0.2)
            machine.systemctl("stop", WORKER)
            machine.submit(requestId=f"waits-{times}")
            told = hook.wait_for(2 * times - 1, timeout=60)[-1]
            standardwebhooks.Webhook(SECRET).verify(told.body, told.headers)
            assert (told.json["alert"], told.json["count"]) == ("no_worker", 1)
            machine.systemctl("start", WORKER)
            machine.finished(f"waits-{times}")
            assert hook.wait_for(2 * times, timeout=60)[-1].json["status"] == "resolved"  # by the worker
        ids = {one.headers["webhook-id"] for one in hook.received}

    assert len(ids) == 4
    # Each of them by the one that was called for it, which was not called again.
    entries = machine.journal(ALERTS)
    assert [entry["MESSAGE"] for entry in entries if "Alerts sent" in entry["MESSAGE"]] == ["Alerts sent: 1."] * 2
    assert machine.show(PATH, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "waiting"}
    assert machine.show(API, "PrivateNetwork")["PrivateNetwork"] == "yes"


@pytest.mark.parametrize("fault", ["port", "key"])
def test_an_api_that_does_not_start_is_an_alert_and_its_start_a_notice(machine: Machine, fault: str) -> None:
    """CASES A13: the port is taken, or the key is empty; `systemctl start` ends with 0 all the same."""
    listener = machine.inside(lambda: socket.create_server(("127.0.0.1", 3000))) if fault == "port" else None
    with machine.inside(Receiver) as hook:
        machine.key("RELAY_ALERT_URL", hook.url("/alert", host="localhost"))
        if fault == "key":
            machine.key("API_SECRET_KEY", "")
        assert machine.systemctl("start", TARGET, check=False).returncode == 0
        machine.active(WORKER)
        [alert] = hook.wait_for(1, timeout=60)
        assert (alert.json["alert"], alert.json["status"]) == ("no_api", "open")

        if listener is not None:
            listener.close()
        machine.key("API_SECRET_KEY", KEY)
        machine.systemctl("reset-failed")
        machine.systemctl("start", TARGET)
        machine.active(API)
        _, notice = hook.wait_for(2, timeout=60)

    assert (notice.json["alert"], notice.json["status"]) == ("no_api", "resolved")


def test_a_state_directory_that_is_moved_away_is_not_replaced_by_an_empty_one(machine: Machine) -> None:
    """
    A sibling of CASES A1: the move wakes the path unit, whose service would make a new state directory.

    The command of the alert, typed as it is, brings the store back, and there is one notice of the end.
    """
    with machine.inside(Receiver) as hook:
        machine.key("RELAY_ALERT_URL", hook.url("/alert", host="localhost"))
        machine.run("rm", "-rf", f"/{STATE}")  # a folder of the machine below the box is copied instead of moved
        machine.run("systemd-tmpfiles", "--create", "/srv/src/systemd/tmpfiles.d/claude-relay.conf")
        machine.write(f"{STATE}/alerts.due", "")
        machine.systemctl("start", TARGET)
        machine.active(WORKER)
        machine.active(API)
        machine.submit(requestId="before")
        machine.finished("before")
        machine.run("mv", f"/{STATE}", "/var/lib/elsewhere")
        [alert] = hook.wait_for(1, timeout=60)
        machine.run("sh", "-c", alert.json["command"])
        _, notice = hook.wait_for(2, timeout=60)
        eventually(lambda: machine.submit(requestId="after").status_code == 202)
        after = machine.finished("after")

    assert alert.json["command"] == f"mv /var/lib/elsewhere /{STATE}"
    assert "before a daemon is stopped" in alert.json["message"]
    assert (notice.json["alert"], notice.json["status"]) == ("store_gone", "resolved")
    assert after["status"] == machine.finished("before")["status"] == "completed"
