"""A store that is removed, replaced or overwritten under running daemons: no 202 that is not kept, and a way back."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process


def remove(store: Path, _: Path) -> None:
    for file in store.parent.glob("relay.db*"):
        file.unlink()


def move_over(store: Path, backup: Path) -> None:
    backup.replace(store)


def copy_over(store: Path, backup: Path) -> None:
    """As `cp` does it: into the same file."""
    shutil.copyfile(backup, store)


def remove_log(store: Path, _: Path) -> None:
    store.with_name(store.name + "-wal").unlink()


def submit_until_refused(rig: Rig, prefix: str) -> tuple[list[str], Any]:
    """Submit until the first 503; returns the accepted ids and that response."""
    accepted: list[str] = []
    while True:
        name = f"{prefix}-{len(accepted)}"
        response = rig.submit({"prompt": "x", "requestId": name})
        if response.status_code != 202:
            return accepted, response
        accepted.append(name)
        assert len(accepted) < 100, "nothing is refused"


def alerts(hook: Receiver) -> list[dict[str, Any]]:
    return [item.json for item in hook.received if item.path == "/alert"]


@pytest.mark.parametrize("damage", [remove, move_over, copy_over, remove_log])
def test_every_202_is_found_after_the_way_back(
    damage: Callable[[Path, Path], None], tmp_path: Path, hook: Receiver
) -> None:
    """
    CASES A1. Submits are 503 and readiness says why; one alert and `doctor` have the command that brings all back.

    An answer that was paid for meanwhile is in it, too. The command line accepts nothing either meanwhile, and the
    daemons that start afterwards send the notice of the end (A18).
    """
    store, backup = tmp_path / "store" / "relay.db", tmp_path / "store" / "copy of.db"
    with Rig(tmp_path, RELAY_ALERT_URL=hook.url("/alert"), RELAY_DRAIN="10s") as rig:
        rig.start()
        headers = {"webhookUrl": hook.url("/done"), "webhookHeaders": {"x-key": "k"}}
        accepted = [f"early-{number}" for number in range(5)]
        for name in accepted:
            assert rig.submit({"prompt": "x", "requestId": name, **headers}).status_code == 202
            rig.finished(name)
        assert rig.submit({"prompt": "[sandbox: slow 6s] x", "requestId": "running"}).status_code == 202
        eventually(lambda: rig.status("running")["status"] == "processing", within=60)
        assert rig.command("backup", str(backup)).returncode == 0

        damage(store, backup)
        late, refused = submit_until_refused(rig, "late")
        ready = rig.http.get(f"{rig.url}/health/ready", timeout=60)
        alert = eventually(lambda: alerts(hook), within=60)[0]
        doctor = rig.command("doctor", "--json")
        by_hand = rig.command("submit", "--id", "by-hand", "x")
        assert rig.worker.stop(60) == 0
        assert rig.api.stop(60) == 0
        back = rig.command(*shlex.split(alert["command"])[1:])
        assert back.returncode == 0, back.stderr
        rig.start()
        ends = {name: rig.finished(name) for name in [*accepted, *late, "running"]}
        again = rig.submit({"prompt": "x", "requestId": "again", **headers})
        rig.finished("again")
        eventually(lambda: "again" in {item.json.get("requestId") for item in hook.received})
        eventually(lambda: len(alerts(hook)) == 2)
        found = rig.command("status", "by-hand").returncode

    assert (by_hand.returncode, found) == (78, 3) and "nothing is accepted" in by_hand.stderr
    assert refused.status_code == 503 and "Retry-After" in refused.headers and "in use" in refused.json()["error"]
    assert ready.status_code == 503 and any("in use" in reason for reason in ready.json()["reasons"])
    assert [(each["alert"], each["status"]) for each in alerts(hook)] == [
        ("store_gone", "open"),
        ("store_gone", "resolved"),  # by the daemons that were started after the way back
    ]
    assert doctor.returncode == 1 and alert["command"] in doctor.stdout
    assert {end["status"] for end in ends.values()} == {"completed"}
    assert again.status_code == 202
    if damage is not copy_over:  # there the pages are gone, and the call that ran during the backup is made again
        assert ends["running"]["attempts"] == 1
    if damage is remove:
        assert store.with_name("relay.db.key").exists()


def test_a_store_that_is_put_back_is_used_again(tmp_path: Path, hook: Receiver) -> None:
    """
    CASES A1, A18. The same file is moved away and back: both daemons accept jobs again, and no copy is left.

    One alert and one notice that it has ended are sent.
    """
    store = tmp_path / "store" / "relay.db"
    with Rig(tmp_path, RELAY_ALERT_URL=hook.url("/alert")) as rig:
        rig.start()
        assert rig.submit({"prompt": "x", "requestId": "first"}).status_code == 202
        rig.finished("first")  # all parts of the worker have started
        store.rename(store.with_name("elsewhere"))
        _, refused = submit_until_refused(rig, "late")
        eventually(lambda: alerts(hook), within=60)
        store.with_name("elsewhere").rename(store)

        eventually(lambda: rig.submit({"prompt": "x", "requestId": "last"}).status_code == 202)
        assert rig.finished("last")["status"] == "completed"
        eventually(lambda: "The store is back" in rig.worker.output() + rig.api.output())
        eventually(lambda: len(alerts(hook)) == 2)
        left = eventually(lambda: not [*store.parent.glob("relay.db.rescued-*"), *store.parent.glob("*.gone")])

    assert refused.status_code == 503
    assert left
    assert [(each["alert"], each["status"]) for each in alerts(hook)] == [
        ("store_gone", "open"),
        ("store_gone", "resolved"),
    ]


def test_a_removed_store_is_not_replaced_by_an_empty_one(tmp_path: Path, hook: Receiver) -> None:
    """CASES A1. Daemons that are restarted without the way back do not start, and say where the content is."""
    store = tmp_path / "store" / "relay.db"
    with Rig(tmp_path, RELAY_ALERT_URL=hook.url("/alert")) as rig:
        rig.start()
        assert rig.submit({"prompt": "x", "requestId": "first"}).status_code == 202
        rig.finished("first")  # all parts of the worker have started
        remove(store, store)
        alert = eventually(lambda: alerts(hook), within=60)[0]
        rig.worker.stop(60)
        rig.api.stop(60)
        refused = rig.command("migrate")
        doctor = rig.command("doctor", "--json")

    assert refused.returncode == 78 and "claude-relay restore" in refused.stderr
    assert shlex.split(alert["command"])[-1] in refused.stderr
    assert shlex.split(alert["command"])[-1] in json.dumps(doctor.stdout)
    assert not store.exists()


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_folder_that_is_missing_is_brought_back_by_the_command_of_the_daemons(
    how: str, tmp_path: Path, hook: Receiver
) -> None:
    """A sibling of CASES A1: no notice can be left in it, and `doctor` does not advise to start on an empty store."""
    folder = tmp_path / "store"
    with Rig(tmp_path, RELAY_ALERT_URL=hook.url("/alert")) as rig:
        rig.start()
        assert rig.submit({"prompt": "x", "requestId": "first"}).status_code == 202
        rig.finished("first")
        if how == "moved":
            folder.rename(tmp_path / "else where")
        else:
            shutil.rmtree(folder)
        accepted, refused = submit_until_refused(rig, "late")
        alert = eventually(lambda: alerts(hook), within=60)[0]
        doctor = rig.command("doctor", PORT=rig.url.rpartition(":")[2])
        for command in alert["command"].split(" && "):
            subprocess.run(shlex.split(command), check=True)
        assert rig.worker.stop(60) == 0 and rig.api.stop(60) == 0
        rig.start()
        ends = {name: rig.finished(name)["status"] for name in ["first", *accepted]}

    assert refused.status_code == 503
    assert "was removed while it was in use" in doctor.stdout and "claude-relay serve" not in doctor.stdout
    assert "do not stop or start a daemon yet" in doctor.stdout
    assert set(ends.values()) == {"completed"}
