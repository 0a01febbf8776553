"""Out of file handles, memory or threads: errors without partial effects, and recovery once there are more."""

from __future__ import annotations

import os
import random
import resource
import socket
from pathlib import Path

import pytest
import requests

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.policy import Policy
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.delivery_sender import DeliverySender
from claude_relay.worker.dispatcher import Dispatcher
from claude_relay.worker.inflight import InFlightCalls
from claude_relay.worker.pacing import FIRST_WINDOW, Pacing
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude
from tests.support.receiver import Receiver
from tests.support.rig import Process, Rig

PLENTY = 1024


def handles(process: Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


def allow(process: Process, what: int, much: int) -> None:
    """Limit a running process."""
    hard = resource.prlimit(process.pid, what)[1]
    resource.prlimit(process.pid, what, (much, hard))


@pytest.mark.faults
@pytest.mark.process
def test_an_api_out_of_file_handles_recovers_and_keeps_every_202(tmp_path: Path) -> None:
    """A request has a job if and only if it got a 202; it recovers when the other connections are closed."""
    with Rig(tmp_path) as rig:
        rig.start_api()
        rig.submit({"prompt": "x", "requestId": "before"})
        port = int(rig.url.rpartition(":")[2])
        allow(rig.api, resource.RLIMIT_NOFILE, handles(rig.api) + 6)
        crowd = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(30)]
        kept = {"before"}
        for number in range(6):
            try:
                body = {"prompt": "x", "requestId": f"r-{number}"}
                answer = requests.post(f"{rig.url}/api/claude", json=body, headers=dict(rig.http.headers), timeout=1)
            except requests.RequestException:
                continue
            assert answer.status_code in (202, 503)
            kept |= {f"r-{number}"} if answer.status_code == 202 else set()
        for item in crowd:
            item.close()
        assert rig.api.alive
        answer = eventually(lambda: rig.submit({"prompt": "x", "requestId": "after"}), within=60)

        assert answer.status_code == 202
        known = {job["requestId"] for job in rig.get("/api/jobs")["jobs"]}
        assert kept | {"after"} <= known
        assert all(rig.submit({"prompt": "x", "requestId": name}).json()["duplicate"] for name in kept)


@pytest.mark.faults
@pytest.mark.process
def test_a_worker_out_of_file_handles_fails_no_job_for_it(tmp_path: Path) -> None:
    """A fault of the machine, not of the call: no attempt is counted, and all calls are made once there are handles."""
    with FakeClaude() as upstream, Receiver() as hook, Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "warm", "requestId": "warm", "webhookUrl": hook.url("/x")})
        hook.wait_for(1)
        allow(rig.worker, resource.RLIMIT_NOFILE, 4)  # fewer than it has open: those stay open, no other can be opened
        names = [f"r-{number}" for number in range(4)]
        for name in names:
            assert rig.submit({"prompt": name, "requestId": name, "webhookUrl": hook.url("/x")}).status_code == 202
        # One call may use the connection to the upstream that is still open.
        eventually(lambda: rig.worker.output().count("reason=exhausted") >= 3)
        assert rig.worker.alive
        allow(rig.worker, resource.RLIMIT_NOFILE, PLENTY)
        ended = [rig.finished(name, within=60) for name in names]
        hook.wait_for(5)

    assert [(item["status"], item["attempts"]) for item in ended] == [("completed", 1)] * 4
    assert len(upstream.books) == 5


@pytest.mark.faults
@pytest.mark.process
def test_an_api_out_of_memory_refuses_a_body_and_lives(tmp_path: Path) -> None:
    """A body that does not fit gets the usual error and leaves nothing behind; the next small one is accepted."""
    with Rig(tmp_path) as rig:
        rig.start_api()
        size = int(Path(f"/proc/{rig.api.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        allow(rig.api, resource.RLIMIT_AS, size + 24 * 2**20)
        kept, refused = ["small"], 0
        for number in range(3):
            answer = rig.submit({"prompt": "x" * 25_000_000, "requestId": f"big-{number}"})
            if answer.status_code == 202:
                kept.append(f"big-{number}")
            else:
                # 503 where the store had no memory.
                assert answer.status_code == answer.json()["status"] in (500, 503)
                refused += 1
        small = eventually(lambda: rig.submit({"prompt": "small", "requestId": "small"}), within=60)

        assert small.status_code == 202 and refused
        assert sorted(job["requestId"] for job in rig.get("/api/jobs")["jobs"]) == sorted(kept)


class NoThreads:
    """A pool that cannot start a thread."""

    def __init__(self) -> None:
        self.asked = 0

    def submit(self, *_: object) -> None:
        self.asked += 1
        raise RuntimeError("can't start new thread")


class NothingReady:
    def take(self, limit: int) -> list[str]:
        return []


def test_a_worker_without_threads_releases_jobs_that_it_cannot_start(tmp_path: Path) -> None:
    """Else it would keep the job for ever, as the lease of a call in flight is renewed."""
    clock = Clock()
    relay = Relay(SqliteStore(tmp_path / "relay.db", clock=clock), QuietNotifier(), Policy(), rng=random.Random(1))
    calls, nothing, pacing = InFlightCalls(), NothingReady(), Pacing()
    slots = Dispatcher(relay, nothing, None, print, worker="w", limit=2, in_flight=calls, pacing=pacing)
    slots._pool = NoThreads()
    relay.submit_many([a_submission("r-1", webhook_url=None), a_submission("r-2")])
    with pytest.raises(RuntimeError):
        slots._round()

    assert len(calls) == 0
    assert pacing.capacities() == {"sonnet": FIRST_WINDOW}
    claimed, _ = relay.execution.claim("w", limit=2)
    assert relay.queries.status(JobRef(request_id="r-1"))["attempts"] == 1
    relay.execution.complete(claimed, a_completion())
    relay.close()


def test_a_sender_without_threads_releases_deliveries_that_it_cannot_start(tmp_path: Path) -> None:
    clock = Clock()
    relay = Relay(SqliteStore(tmp_path / "relay.db", clock=clock), QuietNotifier(), Policy(), rng=random.Random(2))
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    clock.advance(5)
    deliveries = DeliverySender(relay, None, worker="w", clock=clock)
    deliveries._pool = NoThreads()
    with pytest.raises(RuntimeError):
        deliveries._round()
    [item] = relay.deliveries.claim("w", limit=1)

    assert relay.deliveries.record_attempt(item, Reply(status=200)).attempts == 1
    relay.close()
