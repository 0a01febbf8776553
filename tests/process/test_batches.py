"""Batches with real processes: the three modes side by side, and a worker that dies at each step of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_batches import Shelf, live
from tests.support.fake_claude import FakeClaude
from tests.support.receiver import Receiver
from tests.support.rig import KILL, Rig

QUICK = {"RELAY_BATCH_LINGER": "1s", "RELAY_BATCH_POLL": "1s", "RELAY_BATCH_SETTLE": "3s"}
TESTING = {"CLAUDE_RELAY_TESTING": "1"}


@pytest.mark.process
def test_the_three_modes_side_by_side(tmp_path: Path) -> None:
    """All answers have the same tokens, so a batch costs half; auto is a batch if there is time, else a live call."""
    with Receiver() as hook, Rig(tmp_path, **QUICK) as rig:
        rig.start()
        asked = {
            "live": {},
            "batch": {"mode": "batch"},
            "auto": {"mode": "auto", "needBy": "2h"},
            "soon": {"mode": "auto", "needBy": "2m"},
        }
        for name, fields in asked.items():
            body = {"prompt": "The same for all", "requestId": name, "webhookUrl": hook.url("/hook"), **fields}
            assert rig.submit(body).status_code == 202
        eventually(lambda: len(hook.received) == 4, within=60)
        callbacks = {item.json["requestId"]: item.json for item in hook.received}

        assert {name: body["mode"] for name, body in callbacks.items()} == {
            "live": "live",
            "batch": "batch",
            "auto": "batch",
            "soon": "live",
        }
        assert callbacks["batch"]["costUsd"] == pytest.approx(callbacks["live"]["costUsd"] / 2)
        assert callbacks["auto"]["savedUsd"] == pytest.approx(callbacks["live"]["costUsd"] / 2)
        assert callbacks["soon"]["savedUsd"] == 0.0
        assert "savedUsd" not in callbacks["live"]
        costs = rig.command("cost", "--by", "mode", "--json").stdout
        assert "batch" in costs and "live" in costs


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.parametrize("place", ["batch.planned", "batch.sending", "batch.created", "batch.result:2"])
def test_a_worker_that_dies_anywhere_leaves_no_job_behind_and_none_paid_twice(tmp_path: Path, place: str) -> None:
    """Planned, about to be sent, created but not recorded, in the middle of the results."""
    upload_cache = Shelf(span=0.5)
    with (
        FakeClaude(otherwise=live(upload_cache)) as upstream,
        Receiver() as hook,
        Rig(tmp_path, upstream=upstream.url, **QUICK) as rig,
    ):
        upload_cache.on(upstream)
        rig.start_api()
        rig.start_worker(**TESTING, CLAUDE_RELAY_FAILPOINT=place)
        for name in "abc":
            body = {"prompt": f"job {name}", "requestId": name, "webhookUrl": hook.url("/hook"), "mode": "batch"}
            assert rig.submit(body).status_code == 202
        assert rig.worker.wait(60) == -KILL
        rig.start_worker()
        eventually(lambda: len({item.json["requestId"] for item in hook.received}) == 3, within=60)

        assert {item.json["status"] for item in hook.received} == {"completed"}
        assert sorted(upload_cache.answered.values()) == [1, 1, 1]
        assert not any("possibleDuplicateCharge" in item.json for item in hook.received)


@pytest.mark.process
def test_a_planned_stop_leaves_a_batch_to_the_next_worker(tmp_path: Path) -> None:
    """There is nothing to wait for, as its state is in the store."""
    upload_cache = Shelf()
    with (
        FakeClaude(otherwise=live(upload_cache)) as upstream,
        Receiver() as hook,
        Rig(tmp_path, upstream=upstream.url, **QUICK) as rig,
    ):
        upload_cache.on(upstream)
        rig.start()
        rig.submit({"prompt": "slow-batch a", "requestId": "a", "webhookUrl": hook.url("/hook"), "mode": "batch"})
        eventually(lambda: (rig.status("a")["waitingFor"] or "").startswith("batch: with Claude since"))
        assert rig.worker.stop() == 0
        rig.start_worker()
        upload_cache.slow_span = 0.0
        eventually(lambda: hook.received)

        assert sorted(upload_cache.answered.values()) == [1]
        why = rig.command("why", "a").stdout
        assert "put into a batch (attempt 1)" in why
