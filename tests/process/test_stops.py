"""Cancels, deadlines, exceeded drains and frozen workers, through real processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.receiver import Receiver
from tests.support.rig import CONT, STOP, TERM, Rig

pytestmark = pytest.mark.process


@pytest.fixture
def upstream() -> Iterator[FakeClaude]:
    """Starts every answer to a prompt with `long` in it, and does not end it."""
    with FakeClaude() as fake:
        fake.when("long", head(), started(), *written("half an answer"), Wait(threading.Event()))
        yield fake


def test_a_call_is_stopped_by_a_cancel_a_deadline_and_a_planned_stop(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver
) -> None:
    """Each ends as it should, with its partial answer; a waiting request is answered."""
    with Rig(tmp_path, upstream=upstream.url, RELAY_DRAIN="1s").start() as rig:
        url = hook.url("/hook")
        rig.submit({"prompt": "warm-up", "requestId": "warm-up"})
        rig.finished("warm-up", within=60)  # a first call waits for the SDK, which may outlast a short deadline
        for name, more in {
            "cancelled": {},
            "late": {"deadline": "12s"},
            "again": {"onInterrupt": "retry"},
            "partial": {"onInterrupt": "partial"},
            "held": {"onInterrupt": "hold"},
        }.items():
            rig.submit({"prompt": f"long {name}", "requestId": name, "webhookUrl": url, **more})
        eventually(lambda: len(upstream.books) == 6 and rig.get("/api/jobs/cancelled")["partialResponse"], within=60)

        assert rig.post("/api/jobs/cancelled/cancel").status_code == 200
        ended = {item.json["requestId"]: item.json for item in hook.wait_for(2, timeout=60)}
        assert {name: body["errorType"] for name, body in ended.items()} == {
            "cancelled": "cancelled",
            "late": "deadline",
        }
        assert all(body["partialResponse"].startswith("half") for body in ended.values())
        assert all(body["usage"]["input_tokens"] == 10 for body in ended.values())

        assert rig.worker.stop() == 0
        assert rig.status("again")["status"] == "pending"
        assert rig.status("held")["waitingFor"].startswith("held: ")
        partial = rig.get("/api/result/partial")
        assert (partial["errorType"], partial["status"]) == ("interrupted", "failed")
        assert partial["partialResponse"].startswith("half")
        assert all(rig.get(f"/api/jobs/{name}")["possibleDuplicateCharge"] for name in ("again", "partial", "held"))
        assert len(upstream.books) == 6

        rig.start_worker()  # the interrupted one has one more attempt, and then it ends
        eventually(lambda: len(upstream.books) == 7)
        rig.worker.signal(TERM)
        rig.worker.signal(TERM)  # at once
        assert rig.worker.wait(60) == 0
        assert rig.status("again")["errorType"] == "interrupted"
        assert rig.status("held")["status"] == "pending"


def test_a_frozen_worker_loses_its_job_and_its_late_result_is_refused(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver
) -> None:
    """Stopped past its lease: another worker makes the call, and one outcome is stored and delivered."""
    go_on = threading.Event()
    upstream.then(head(), started(), *written("from the frozen one"), Wait(go_on), *stopped())
    with Rig(tmp_path, upstream=upstream.url, RELAY_LEASE="2s").start() as rig:
        rig.submit({"prompt": "x", "requestId": "r-1", "webhookUrl": hook.url("/hook")})
        eventually(lambda: rig.get("/api/jobs/r-1")["partialResponse"])
        frozen = rig.worker
        frozen.signal(STOP)
        rig.start_worker()
        [delivered] = hook.wait_for(1)
        go_on.set()
        frozen.signal(CONT)
        eventually(lambda: "lost" in frozen.output() or "refused" in frozen.output(), within=60)

        assert delivered.json["response"] == "Hello from the fake."
        assert delivered.json["possibleDuplicateCharge"]
        assert len(upstream.books) == 2
        assert rig.http.get(f"{rig.url}/api/result/r-1").content == delivered.body
        assert len(hook.received) == 1


@pytest.mark.parametrize("kept_by", ["a lock on the store", "a pause of the worker"])
def test_a_call_is_not_taken_back_from_a_worker_that_could_not_renew_its_lease(
    tmp_path: Path, upstream: FakeClaude, kept_by: str
) -> None:
    """For longer than a lease the store was locked, or the worker paused: its call goes on, paid once."""
    import apsw

    go_on = threading.Event()
    upstream.then(head(), started(), *written("half"), Wait(go_on), *written(" and half"), *stopped())
    with Rig(tmp_path, upstream=upstream.url, RELAY_LEASE="2s").start() as rig:
        rig.submit({"prompt": "x", "requestId": "r-1"})
        eventually(lambda: rig.get("/api/jobs/r-1")["partialResponse"])
        if kept_by == "a lock on the store":
            other = apsw.Connection(str(tmp_path / "store" / "relay.db"))
            other.set_busy_timeout(5000)
            other.execute("BEGIN IMMEDIATE")
            time.sleep(7)  # three leases and more
            other.execute("ROLLBACK")
            other.close()
        else:
            rig.worker.signal(STOP)
            time.sleep(7)
            rig.worker.signal(CONT)
        time.sleep(4)  # two checks for stale leases
        go_on.set()

        assert rig.finished("r-1")["status"] == "completed"
        assert len(upstream.books) == len(rig.get("/api/jobs/r-1")["calls"]) == 1
