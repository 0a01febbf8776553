"""Crashes at failpoints, checked at the callers, the upstream and the receiver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Hang, Pause, Seen, Step, head, started, stopped, written
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = [pytest.mark.faults, pytest.mark.process]


@pytest.fixture
def upstream() -> Iterator[FakeClaude]:
    with FakeClaude() as fake:
        yield fake


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def failing(name: str) -> dict[str, str]:
    return {"CLAUDE_RELAY_FAILPOINT": name, "CLAUDE_RELAY_TESTING": "1"}


@pytest.mark.parametrize("name, stored", [("submit.before_commit", False), ("submit.after_commit", True)])
def test_an_api_that_dies_around_its_commit(tmp_path: Path, name: str, stored: bool) -> None:
    """The caller sees a broken connection and retries: one job, whether it had been stored or not."""
    with Rig(tmp_path) as rig:
        rig.start_api(**failing(name))
        body = {"prompt": "x", "requestId": "r-1"}
        with pytest.raises(requests.ConnectionError):
            rig.submit(body)
        rig.api.wait()
        rig.start_api()
        again = rig.submit(body)

        assert (again.status_code, again.json().get("duplicate", False)) == (202, stored)
        assert len(rig.get("/api/jobs")["jobs"]) == 1


@pytest.mark.parametrize(
    "name, calls, attempts, marked, posts",
    [
        ("claim.after_commit", 1, 1, False, 1),
        ("sending.after_commit", 1, 2, True, 1),
        ("checkpoint.after_commit", 2, 2, True, 1),
        ("complete.before_commit", 2, 2, True, 1),
        ("complete.after_commit", 1, 1, False, 1),
        ("deliver.before_post", 1, 1, False, 1),
        ("deliver.after_post", 1, 1, False, 2),
    ],
)
def test_a_worker_that_dies_at_each_step(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver, name: str, calls: int, attempts: int, marked: bool, posts: int
) -> None:
    """Nothing is lost, a stored answer is not paid for again, and a possible double charge is marked."""
    if name == "checkpoint.after_commit":  # a call that ends at once has none
        upstream.then(head(), started(), *written("Sva"), Hang())
    with Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_api()
        rig.start_worker(**failing(name))
        rig.submit({"prompt": "x", "requestId": "r-1", "webhookUrl": hook.url("/x")})
        assert rig.worker.wait(60) == -9
        rig.start_worker()
        received = hook.wait_for(posts)
        eventually(lambda: rig.status("r-1")["delivery"]["status"] == "delivered")
        body = received[-1].json

        assert (body["status"], body["attempts"]) == ("completed", attempts)
        assert body.get("possibleDuplicateCharge", False) is marked
        assert len(upstream.books) == calls
        assert len({(item.headers["webhook-id"], item.body) for item in received}) == 1


def test_the_ledger_has_a_call_before_its_first_byte_and_its_progress(tmp_path: Path, hook: Receiver) -> None:
    """Read by the upstream itself when a request arrives; then the worker dies in mid-stream."""
    admitted: list[object] = []
    with Rig(tmp_path) as rig:

        def read_ledger(seen: Seen) -> Sequence[Step]:
            admitted.append([(call["sent"], call["outcome"]) for call in rig.get("/api/jobs/r-1")["calls"]])
            text = written("half an answer, and more")
            return [head(), started(), Pause(0.5), *text, Pause(0.5), *stopped()]

        with FakeClaude(otherwise=read_ledger) as upstream:
            rig.start_api()
            settings = {"ANTHROPIC_BASE_URL": upstream.url, "RELAY_PROVIDER": "anthropic"}
            rig.start_worker(**settings, **failing("checkpoint.after_commit:2"))
            rig.submit({"prompt": "x", "requestId": "r-1", "webhookUrl": hook.url("/x")})
            assert rig.worker.wait(60) == -9
            assert admitted == [[(True, None)]]
            rig.start_worker(**settings)
            hook.wait_for(1)
        record = rig.get("/api/jobs/r-1")

    assert admitted[1] == [(True, "interrupted"), (True, None)]
    first = record["calls"][0]
    assert first["firstByteAt"] and first["upstreamRequestId"] == "req_fake"
    assert first["usage"]["input_tokens"] == 10 and first["costUsd"] > 0
    assert record["calls"][1]["outcome"] == "completed"


def test_outside_a_test_a_failpoint_refuses_the_start(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        done = rig.command("worker", CLAUDE_RELAY_FAILPOINT="claim.after_commit")
        odd = rig.command("serve", **failing("nowhere"))

    assert (done.returncode, odd.returncode) == (78, 78)
    assert "for tests only" in done.stderr
    assert "nowhere" in odd.stderr
