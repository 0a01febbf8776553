"""A backup under load and its restore, through real processes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process


def test_jobs_accepted_before_the_backup_end_after_the_restore(tmp_path: Path) -> None:
    """Every job accepted before the backup ends, also those that were running; the backup blocked no request."""
    with Receiver() as hook, Rig(tmp_path, RELAY_CONCURRENCY="4") as rig:
        rig.start()
        early = [f"early-{number}" for number in range(30)]
        for name in early:
            body = {"prompt": "[sandbox: slow 1s] x", "requestId": name, "webhookUrl": hook.url("/done")}
            assert rig.submit(body).status_code == 202
        stop, answers = threading.Event(), []

        def keep_on() -> None:
            while not stop.is_set():
                answers.append(rig.submit({"prompt": "x", "requestId": f"late-{len(answers)}"}).status_code)

        callers = threading.Thread(target=keep_on)
        callers.start()
        eventually(lambda: len(answers) > 10 and rig.get("/api/overview")["jobs"]["running"])
        taken = rig.command("backup", "copy.db")
        earlier = len(answers)
        eventually(lambda: len(answers) > earlier + 10)
        stop.set()
        callers.join(60)

        refused = rig.command("restore", "--yes", "copy.db")
        for process in (rig.api, rig.worker):
            process.kill()
        store = tmp_path / "store" / "relay.db"
        store.write_bytes(b"not a database any more" * 1000)
        (tmp_path / "store" / "relay.db-wal").unlink(missing_ok=True)
        broken = rig.command("status")
        restored = rig.command("restore", "--yes", "copy.db")
        rig.start()
        ends = {name: rig.finished(name, within=90)["status"] for name in early}
        eventually(lambda: {item.json["requestId"] for item in hook.received} >= set(early), within=60)

    assert taken.returncode == 0, taken.stderr
    assert set(answers) == {202}
    assert refused.returncode == 9 and "stop the daemons first" in refused.stderr
    assert broken.returncode == 78 and "claude-relay restore" in broken.stderr
    assert restored.returncode == 0, restored.stderr
    assert (tmp_path / "store" / "relay.db.before-restore").exists()
    assert set(ends.values()) == {"completed"}
