"""Several machines on one PostgreSQL, as processes without a shared folder: crashes, cut connections, restarts."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
import requests

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Pause, Wait, answer, head, started, stopped, written
from tests.support.faketime import FakeTime
from tests.support.postgres import Cluster
from tests.support.receiver import Receiver
from tests.support.rig import CONT, STOP, Process, Rig

pytestmark = pytest.mark.process


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server of the test's own, with fsync on, as it will be killed."""
    with Cluster(durable=True) as cluster:
        yield cluster.start()


def a_rig(folder: Path, url: str, upstream: FakeClaude, **settings: str) -> Rig:
    defaults = {"RELAY_LEASE": "5s", "RELAY_STORE": url, "STATE_DIRECTORY": str(folder / "store")}
    return Rig(folder, upstream=upstream.url, **(defaults | settings))


def another_machine(rig: Rig, name: str = "machine-2") -> Process:
    """A worker whose locks are invisible to the others."""
    worker = rig.start_worker(wait=False, STATE_DIRECTORY=str(rig.folder / name))
    eventually(lambda: "worker started" in worker.output(), within=60)
    return worker


def test_a_worker_on_another_machine_is_judged_by_its_lease_alone(
    tmp_path: Path, database: str, postgres: Cluster, upstream: FakeClaude, hook: Receiver
) -> None:
    """While it lives its call is not taken back; killed in mid-call, it costs one marked call and no job."""
    go_on, never = threading.Event(), threading.Event()
    upstream.when("living", head(), started(), *written("half "), Wait(go_on), *stopped())
    dying = (head(), started(), *written("half "), Wait(never))
    with a_rig(tmp_path, database, upstream).start() as rig:
        first = rig.worker
        rig.submit({"prompt": "living", "requestId": "living", "webhookUrl": hook.url("/a")})
        eventually(lambda: rig.get("/api/jobs/living")["partialResponse"])
        second = another_machine(rig)
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 11 and rig.status("living")["status"] == "processing")
        go_on.set()
        hook.wait_for(1)
        ledger = rig.get("/api/jobs/living")["calls"]
        assert [call["outcome"] for call in ledger] == ["completed"] and len(upstream.books) == 1

        upstream.then(*dying)
        # Either of the two may claim the next one: that one is killed, and the other goes on.
        rig.submit({"prompt": "dying", "requestId": "dying", "webhookUrl": hook.url("/a")})
        eventually(lambda: rig.get("/api/jobs/dying")["partialResponse"])
        [(holder,)] = postgres.run("SELECT lease_worker FROM jobs WHERE state = 'running'", url=database)
        victim, heir = (first, second) if str(first.pid) in holder.split("-") else (second, first)
        victim.kill()
        [_, delivered] = hook.wait_for(2, timeout=60)

        assert (delivered.json["status"], delivered.json["attempts"]) == ("completed", 2)
        assert delivered.json["possibleDuplicateCharge"] is True
        assert [call["outcome"] for call in rig.get("/api/jobs/dying")["calls"]] == ["interrupted", "completed"]
        assert heir.alive


def test_a_job_is_announced_to_the_other_machines_at_once(
    tmp_path: Path, database: str, postgres: Cluster, upstream: FakeClaude
) -> None:
    """A worker listens, and the API notifies it of an accepted job: it does not wait for the sweep."""
    with a_rig(tmp_path, database, upstream).start() as rig:
        payloads: list[str] = []
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("LISTEN claude_relay_ready")
            rig.submit({"prompt": "Hei", "requestId": "r-1"})
            eventually(lambda: payloads.extend(item.payload for item in other.notifies(timeout=0.1)) or payloads)
        [(job,)] = postgres.run("SELECT id FROM jobs", url=database)
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN claude_relay_ready' AND datname = %s"

        assert payloads == [job]
        # The worker. The connection of this test ends on the server a moment after it was closed.
        eventually(lambda: postgres.run(listening, database.rpartition("/")[2]) == [(1,)])
        waited = rig.http.get(f"{rig.url}/api/result/r-1", headers={"Prefer": "wait=50"}, timeout=90)
        assert waited.status_code == 200 and waited.json()["status"] == "completed"


def test_an_answer_that_was_paid_for_waits_for_the_server_longer_than_a_lease(
    tmp_path: Path, cluster: Cluster, upstream: FakeClaude, hook: Receiver
) -> None:
    """While the server is down the API answers 503; neither machine runs the call again once it is back."""
    go_on = threading.Event()
    upstream.when("long", head(), started(), *written("half "), Wait(go_on), *stopped())
    with a_rig(tmp_path, cluster.database(), upstream).start() as rig:
        another_machine(rig)
        rig.submit({"prompt": "long", "requestId": "r-1", "webhookUrl": hook.url("/a")})
        eventually(lambda: rig.get("/api/jobs/r-1")["partialResponse"])
        cluster.stop("immediate")
        go_on.set()
        began = time.monotonic()
        answers = set()
        while time.monotonic() - began < 8:
            refused = rig.submit({"prompt": "Hei", "requestId": "r-2"})
            answers.add((refused.status_code, "Retry-After" in refused.headers))
            asked = rig.http.get(f"{rig.url}/api/status/r-1", timeout=60)
            answers.add((asked.status_code, "Retry-After" in asked.headers))
            assert cluster.password not in refused.text + asked.text
        cluster.start()
        [delivered] = hook.wait_for(1, timeout=60)

        assert answers == {(503, True)}
        assert (delivered.json["status"], delivered.json["attempts"]) == ("completed", 1)
        assert len(upstream.books) == 1
        assert cluster.password not in rig.api.output() + rig.worker.output()
        assert "Traceback" not in rig.api.output() + rig.worker.output()


def test_a_machine_that_froze_loses_its_jobs_and_no_result_is_stored_twice(
    tmp_path: Path, database: str, upstream: FakeClaude, hook: Receiver
) -> None:
    """It resumes with an answer to a job that another worker has completed by then: the answer is refused."""
    go_on = threading.Event()
    upstream.then(head(), started(), *written("old "), Wait(go_on), *stopped())
    with a_rig(tmp_path, database, upstream).start() as rig:
        frozen = rig.worker
        rig.submit({"prompt": "long", "requestId": "r-1", "webhookUrl": hook.url("/a")})
        eventually(lambda: rig.get("/api/jobs/r-1")["partialResponse"])
        frozen.signal(STOP)
        another_machine(rig)
        [delivered] = hook.wait_for(1, timeout=60)
        go_on.set()
        frozen.signal(CONT)
        eventually(lambda: "lease was lost" in frozen.output() or "another worker has" in frozen.output())

        assert delivered.json["attempts"] >= 2 and "old" not in delivered.json["response"]
        assert rig.get("/api/jobs/r-1")["calls"][0]["outcome"] == "interrupted"
        assert rig.http.get(f"{rig.url}/api/result/r-1").content == delivered.body
        assert len(hook.received) == 1


@pytest.mark.timeout(600)
def test_under_load_crashes_cuts_and_a_killed_api_lose_and_double_nothing(
    tmp_path: Path, cluster: Cluster, upstream: FakeClaude, hook: Receiver
) -> None:
    """Every 202 is delivered, no webhook-id has two bodies, and every call is in the ledger."""
    upstream.otherwise = lambda seen: (Pause(0.05), *answer(f"to {seen.body['messages'][-1]['content']}"))
    url = cluster.database()
    kept: list[str] = []
    stop = threading.Event()
    with a_rig(tmp_path, url, upstream, RELAY_LEASE="10s", RELAY_CONCURRENCY="8").start() as rig:
        another_machine(rig)

        def submit(caller: int) -> None:
            session = requests.Session()
            session.headers["X-API-Key"] = rig.http.headers["X-API-Key"]
            number = 0
            while not stop.is_set():
                number += 1
                name = f"r-{caller}-{number}"
                body = {"prompt": name, "requestId": name, "webhookUrl": hook.url("/x")}
                give_up_at = time.monotonic() + 60
                # The same again until its 202, also after `stop`: without one the job may be stored all the same.
                while time.monotonic() < give_up_at:
                    try:
                        if session.post(f"{rig.url}/api/claude", json=body, timeout=60).status_code == 202:
                            kept.append(name)
                            break
                    except requests.RequestException:
                        pass
                    time.sleep(0.1)

        callers = [threading.Thread(target=submit, args=(caller,)) for caller in range(4)]
        for thread in callers:
            thread.start()
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'relay%'"

        def kill_the_api() -> None:
            rig.api.kill()
            rig.start_api()

        for blow in [lambda: cluster.run(cut), lambda: cluster.restart("immediate"), kill_the_api] * 2:
            earlier = len(kept)
            eventually(lambda earlier=earlier: len(kept) > earlier + 10, within=60)
            blow()
        earlier = len(kept)
        eventually(lambda: len(kept) > earlier + 10, within=60)
        stop.set()
        for thread in callers:
            thread.join(90)
        ended = {"completed"}
        for name in kept:
            assert rig.finished(name, within=60)["status"] in ended
        eventually(lambda: {item.json["requestId"] for item in hook.received} >= set(kept), within=60)
        calls = Counter(str(seen.body["messages"][-1]["content"]) for seen in upstream.books)
        ledgers = {name: rig.get(f"/api/jobs/{name}")["calls"] for name in kept}

    bodies: dict[str, set[bytes]] = defaultdict(set)
    for item in hook.received:
        bodies[item.headers["webhook-id"]].add(item.body)
    assert len(kept) == len(set(kept)) >= 50
    assert {len(each) for each in bodies.values()} == {1}
    assert Counter(json.loads(next(iter(each)))["requestId"] for each in bodies.values()) == Counter(kept)
    unknown = {name: calls[name] for name in kept if calls[name] != sum(call["sent"] for call in ledgers[name])}
    assert not unknown


def test_an_outage_of_the_server_is_one_alert_one_notice_and_one_line(
    tmp_path: Path, cluster: Cluster, upstream: FakeClaude, hook: Receiver
) -> None:
    """CASES A3: the worker sends both, and the log of each daemon has one line for the outage and one for its end."""
    with a_rig(tmp_path, cluster.url(), upstream, RELAY_ALERT_URL=hook.url("/alert")).start() as rig:
        rig.submit({"prompt": "x", "requestId": "first"})
        assert rig.finished("first")["status"] == "completed"  # the worker has started completely
        # An API looks for workers every two seconds, and sends itself where it saw none: this one has seen the worker.
        assert rig.api.stop(60) == 0
        rig.start_api()
        rig.submit({"prompt": "x", "requestId": "second"})
        assert rig.finished("second")["status"] == "completed"
        cluster.stop()
        hook.wait_for(1, path="/alert", timeout=60)
        cluster.start()
        hook.wait_for(2, path="/alert", timeout=60)
        eventually(lambda: "store available again" in rig.worker.output())
        sent = [item.json for item in hook.received if item.path == "/alert"]
        logs = {name: daemon.output() for name, daemon in (("worker", rig.worker), ("api", rig.api))}

    assert [(each["alert"], each["status"]) for each in sent] == [("store_away", "open"), ("store_away", "resolved")]
    for name, output in logs.items():
        assert output.count("store unavailable") == 1, (name, output)


@pytest.mark.parametrize("by, side", [(3600, "ahead of"), (-3600, "behind")])
def test_a_server_whose_clock_is_an_hour_off_delays_nothing(
    tmp_path: Path, upstream: FakeClaude, hook: Receiver, by: int, side: str
) -> None:
    """The daemons say so with the cure; a job starts, waits and is delivered as ever, signed with the time of here."""
    with Cluster(env=FakeTime.fixed(by)) as cluster:
        url = cluster.start().database()
        with a_rig(tmp_path, url, upstream, RELAY_WEBHOOK_SECRET=f"whsec_{'c2VjcmV0' * 4}").start() as rig:
            for name, more in (("now", {}), ("later", {"delay": "2s"})):
                rig.submit({"prompt": name, "requestId": name, "webhookUrl": hook.url(f"/{name}"), **more})
            posts = hook.wait_for(2)
            created = datetime.fromisoformat(rig.status("now")["createdAt"]).timestamp()
            said = [process.output() for process in (rig.api, rig.worker)]

    assert {post.json["requestId"] for post in posts} == {"now", "later"}
    assert all(abs(float(post.headers["webhook-timestamp"]) - time.time()) < 60 for post in posts)
    assert abs(created - by - time.time()) < 60
    assert all(f"s {side} this machine's" in output and "set-ntp true" in output for output in said)
