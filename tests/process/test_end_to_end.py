"""End to end through real processes, checked at the caller, the upstream and the receiver."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.receiver import Receiver
from tests.support.rig import TERM, Rig

pytestmark = pytest.mark.process


def calls(upstream: FakeClaude, word: str) -> int:
    """The number of upstream requests with this word."""
    return sum(word in str(seen.body) for seen in upstream.books)


def test_a_prompt_goes_in_and_the_answer_arrives_at_the_webhook(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver
) -> None:
    """One 202, one call, one delivery that carries the answer; a stop ends both daemons with 0."""
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        body = {"prompt": "What is 2+2?", "webhookUrl": hook.url("/a"), "requestId": "r-1", "metadata": {"row": 7}}
        answer = rig.submit(body)

        assert answer.status_code == 202
        assert answer.json()["status"] == "pending"

        [delivered] = hook.wait_for(1)
        got = delivered.json

        assert (got["requestId"], got["status"], got["response"]) == ("r-1", "completed", "Hello from the fake.")
        assert got["metadata"] == {"row": 7}
        assert "webhook-id" in delivered.headers
        assert len(upstream.books) == 1
        assert rig.http.get(f"{rig.url}/api/result/r-1").content == delivered.body
        eventually(lambda: rig.status("r-1")["delivery"]["status"] == "delivered")

        assert (rig.worker.stop(), rig.api.stop()) == (0, 0)


def test_a_worker_killed_in_mid_call_costs_one_marked_call_and_no_job(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver
) -> None:
    """The job still ends, and its callback says that the first call may have been paid for."""
    upstream.then(head(), started(), *written("half an ans"), Wait(threading.Event()))
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "long", "webhookUrl": hook.url("/a"), "requestId": "r-1"})
        eventually(lambda: rig.get("/api/jobs/r-1")["partialResponse"])
        rig.worker.kill()
        rig.start_worker()

        [delivered] = hook.wait_for(1)
        got = delivered.json

        assert (got["status"], got["attempts"], got["possibleDuplicateCharge"]) == ("completed", 2, True)
        assert len(upstream.books) == 2
        ledger = rig.get("/api/jobs/r-1")["calls"]
        assert [call["outcome"] for call in ledger] == ["interrupted", "completed"]
        assert all(call["sent"] for call in ledger)


def test_an_accepted_job_outlives_the_api_and_waits_for_a_worker(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver
) -> None:
    """Killed right after its 202, the API has lost nothing; the same request again is the same job."""
    with Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_api()
        body = {"prompt": "Hei", "webhookUrl": hook.url("/a"), "requestId": "r-1"}
        assert rig.submit(body).status_code == 202
        rig.api.kill()
        rig.start_api()
        again = rig.submit(body)
        assert (again.status_code, again.json()["duplicate"]) == (202, True)
        rig.start_worker()

        assert [item.json["requestId"] for item in hook.wait_for(1)] == ["r-1"]
        assert len(upstream.books) == 1


def test_a_stop_lets_the_running_call_end(tmp_path: Path, upstream: FakeClaude, hook: Receiver) -> None:
    """On SIGTERM a worker claims nothing more, drains its call and exits with 0."""
    go_on = threading.Event()
    upstream.when("long", head(), started(), *written("slowly "), Wait(go_on), *stopped())
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "long", "requestId": "r-1"})
        eventually(lambda: rig.status("r-1")["status"] == "processing" and upstream.books)
        rig.worker.signal(TERM)
        eventually(lambda: "worker stopping" in rig.worker.output())
        rig.submit({"prompt": "later", "requestId": "r-2"})
        go_on.set()

        assert rig.worker.wait() == 0
        assert rig.status("r-1")["status"] == "completed"
        assert rig.status("r-2")["status"] == "pending"
        assert (calls(upstream, "long"), calls(upstream, "later")) == (1, 0)
