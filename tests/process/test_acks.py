"""Acknowledgements through real processes: a receiver that sends them, and one that does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process
PUBLIC = "https://relay.example.com"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_an_acknowledged_result_is_recorded_and_any_other_is_sent_once_more(tmp_path: Path, hook: Receiver) -> None:
    """Through a restart of both daemons; the commands say the same."""
    with Rig(tmp_path, RELAY_PUBLIC_URL=PUBLIC, RELAY_ACK_REMIND="3s") as rig:
        rig.start_api()
        rig.start_worker(RELAY_ACK_REMIND="1h")  # none before the acknowledgement
        for name in ("applied", "forgotten"):
            rig.submit({"requestId": name, "prompt": "Hei", "webhookUrl": hook.url(f"/{name}")})
        [applied] = hook.wait_for(1, path="/applied", timeout=60)
        [forgotten] = hook.wait_for(1, path="/forgotten")
        for name in ("applied", "forgotten"):
            eventually(lambda name=name: rig.status(name)["delivery"]["status"] == "delivered")
        assert rig.command("wait", "--for", "acked", "--timeout", "0.3s", "applied").returncode == 124
        rig.worker.kill()
        rig.api.kill()
        rig.start_api()

        path = applied.json["ackUrl"].removeprefix(PUBLIC)
        answer = rig.http.post(f"{rig.url}{path}", headers={"X-API-Key": ""}, timeout=60)
        assert (answer.status_code, answer.json()["requestId"]) == (200, "applied")
        assert rig.command("wait", "--for", "acked", "applied").returncode == 0
        assert rig.status("applied")["acked"] == answer.json()["acked"]
        listed = rig.command("list", "--unacked").stdout
        assert "forgotten" in listed and "applied" not in listed
        rig.start_worker()

        first, again = hook.wait_for(2, path="/forgotten", timeout=60)
        assert first == forgotten
        assert again.headers["webhook-id"] == first.headers["webhook-id"] and again.body == first.body

        rig.worker.stop()
        rig.start_worker()
        # By the time of the next one's reminder, this one would have had its own, too.
        rig.submit({"requestId": "next", "prompt": "Hei", "webhookUrl": hook.url("/next")})
        hook.wait_for(2, path="/next", timeout=60)
        assert len(hook.wait_for(2, path="/forgotten")) == 2
        assert len(hook.wait_for(1, path="/applied")) == 1

        why = rig.command("why", "applied").stdout
        assert "the receiver acknowledged it" in why
        assert f"was acknowledged at {answer.json()['acked']}" in why
        why = rig.command("why", "forgotten").stdout
        assert "sent once more" in why and "It was delivered, and not acknowledged." in why
        assert re.search(r"^not applied\t2\t", rig.command("status").stdout, flags=re.M)
        assert "applied\tdelivery\tacked" in rig.command("tail", "-n", "100").stdout
        eventually(lambda: rig.status("forgotten")["delivery"]["attempts"] == 2)
