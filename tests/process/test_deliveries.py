"""Deliveries through real processes to failing, slow and hostile receivers."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trustme
from standardwebhooks import Webhook

from claude_relay.core.deliveries.signing import encode_secret
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.receiver import Answer, Receiver
from tests.support.rig import Process, Rig

pytestmark = pytest.mark.process


def submit(rig: Rig, url: str, *names: str, **fields: object) -> None:
    """Submit jobs with this webhook in one request."""
    bodies = [{"prompt": "Hei", "requestId": name, "webhookUrl": url, **fields} for name in names]
    verdicts = rig.post("/api/claude/bulk", bodies).json()
    assert {verdict["statusCode"] for verdict in verdicts} <= {202}


def deliveries(rig: Rig) -> dict[str, int]:
    return rig.get("/api/overview")["deliveries"]


def of_process(process: Process, field: str) -> int:
    """VmHWM in kB and the number of threads, from the kernel."""
    match = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.M)
    assert match is not None
    return int(match.group(1))


def test_a_receiver_that_hangs_delays_no_other(tmp_path: Path) -> None:
    """Two hundred deliveries are due to it, of 100 s each: each delivery to another one is sent at its time."""
    with Receiver() as hook, Receiver() as hangs, Rig(tmp_path, RELAY_WEBHOOK_TIMEOUT="100s") as rig:
        hangs.answer("/", Answer(delay=300))
        rig.start()
        submit(rig, hangs.url(), *(f"stuck-{n}" for n in range(200)))
        eventually(lambda: hangs.received and rig.get("/api/overview")["jobs"]["completed"] == 200, within=60)
        eventually(lambda: deliveries(rig)["pending"] >= 190)

        late = []
        for number in range(10):
            name = f"live-{number}"
            submit(rig, hook.url(f"/{name}"), name)
            [received] = hook.wait_for(1, path=f"/{name}", timeout=60)
            ended = rig.finished(name)
            [call] = rig.get(f"/api/jobs/{name}")["calls"]
            due = max(_seconds(ended["updatedAt"]), _seconds(call["startedAt"]) + 1.25)
            late.append(received.at - due)

        assert max(late) < 30.0, late  # under 0.1 on an idle machine
        assert len(hangs.received) <= 8  # a few at a time, and for each a thread
        assert of_process(rig.worker, "Threads") < 200


def test_a_storm_at_a_dead_and_a_live_host_ends_by_itself(tmp_path: Path) -> None:
    """A thousand deliveries: the live host gets its own at once, the dead one only a few probes."""
    with Receiver() as hook, Receiver() as dead, Rig(tmp_path) as rig:
        dead.answer("/", Answer(status=503))
        rig.start()
        submit(rig, dead.url(), *(f"dead-{n}" for n in range(200)))
        submit(rig, hook.url(), *(f"live-{n}" for n in range(800)))
        hook.wait_for(800, timeout=100)
        eventually(lambda: deliveries(rig)["delivered"] == 800 and _waiting(rig) == 200)

        posts = len(dead.received)
        assert posts <= 20, posts
        [seen] = rig.get("/api/overview")["destinations"]
        assert (seen["destination"], seen["state"], seen["waiting"]) == (dead.url("").rstrip("/"), "slowed", 200)
        content = rig.status("dead-199")["delivery"]
        assert content["status"] == "pending" and content["waitingFor"].startswith(seen["destination"])
        assert "slowed" in rig.command("status").stdout

        dead.answer("/", Answer())
        began = time.monotonic()
        eventually(lambda: deliveries(rig)["delivered"] == 1000, within=60)
        took = time.monotonic() - began

        assert took > 200 / 20 * 0.8  # at a bounded pace, whatever it could take
        ids = [item.headers["webhook-id"] for item in dead.received]
        assert len(set(ids)) == 200
        assert len(dead.received) <= 200 + posts + 10
        assert len(hook.received) == 800
        assert deliveries(rig) == {"pending": 0, "sending": 0, "delivered": 1000, "dead": 0}


def _waiting(rig: Rig) -> int:
    """Deliveries that wait for their destination."""
    return sum(item["waiting"] for item in rig.get("/api/overview")["destinations"])


def test_a_receiver_that_was_off_gets_everything_once_it_is_back(tmp_path: Path) -> None:
    """Off before the callbacks are due, on again later: none is lost, none arrives twice."""
    port = free_port()
    with Rig(tmp_path, RELAY_WEBHOOK_SCHEDULE="1s,1s,2s,2s,4s,4s,8s,8s") as rig:
        rig.start()
        submit(rig, f"http://127.0.0.1:{port}/", *(f"r-{n}" for n in range(60)))
        eventually(lambda: rig.get("/api/overview")["destinations"], within=30)
        with Receiver(port=port) as hook:
            hook.wait_for(60, timeout=90)
            eventually(lambda: deliveries(rig)["delivered"] == 60)

            assert len({item.headers["webhook-id"] for item in hook.received}) == len(hook.received) == 60


HEADER = "very-secret-make-key"
HUGE = 100 * 1024 * 1024


def _huge(status: int) -> Iterable[bytes]:
    yield b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, HUGE)
    for _ in range(HUGE // 65536):
        yield b"x" * 65536


def _long_head() -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for _ in range(98):
        yield b"X-A: " + b"x" * 65_000 + b"\r\n"
    yield b"\r\n"


def test_answers_of_a_hundred_megabytes_cost_no_memory(tmp_path: Path) -> None:
    """Forty of them, several at once: each ends according to its status, and the worker's memory does not grow."""
    with Receiver() as hook, Rig(tmp_path) as rig:
        hook.answer("/ok", Answer(raw=lambda: _huge(200)))
        hook.answer("/no", Answer(raw=lambda: _huge(403)))
        rig.start()
        submit(rig, hook.url("/warm"), *(f"warm-{n}" for n in range(20)))
        hook.wait_for(20)
        initial = of_process(rig.worker, "VmHWM")
        submit(rig, hook.url("/ok"), *(f"ok-{n}" for n in range(20)))
        submit(rig, hook.url("/no"), *(f"no-{n}" for n in range(20)))
        eventually(lambda: deliveries(rig)["delivered"] == 40 and deliveries(rig)["dead"] == 20, within=60)
        hook.answer("/head", Answer(raw=_long_head))
        submit(rig, hook.url("/head"), *(f"head-{n}" for n in range(4)))
        eventually(lambda: all(rig.status(f"head-{n}")["delivery"]["attempts"] for n in range(4)), within=60)

        grown = of_process(rig.worker, "VmHWM") - initial
        assert grown < 30_000, f"{grown} kB"
        [post] = rig.get("/api/jobs/no-1")["deliveries"]
        assert (post["statusCode"], post["reply"], post["nextAttemptAt"]) == (403, "x" * 2048, None)
        assert "headers that are too long" in rig.get("/api/jobs/head-1")["deliveries"][0]["reply"]
        assert of_process(rig.worker, "Threads") < 200


@pytest.fixture
def strange_tls() -> Iterator[Receiver]:
    """A receiver with an untrusted certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as receiver:
        yield receiver


def test_each_hostile_receiver_ends_as_the_table_says(tmp_path: Path, strange_tls: Receiver) -> None:
    """Drips, silence, resets, garbage, redirects, a wrong certificate: two attempts or one, and a row for each."""
    raws: dict[str, Answer] = {
        "/silent": Answer(delay=60),
        "/drip-head": Answer(drip=0.1, raw=lambda: [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n" * 99]),
        "/drip-body": Answer(drip=0.2, body=b"x" * 1000),
        "/reset": Answer(reset=True),
        "/garbage": Answer(raw=lambda: [b"\x00\xff not HTTP \r\n\r\n"]),
        "/redirect": Answer(status=307, headers={"Location": "/never"}),
        "/gone": Answer(status=410),
        "/not-here": Answer(status=404),
        "/refuses": Answer(status=422),
    }
    with Receiver(raws) as hook, Rig(tmp_path, RELAY_WEBHOOK_TIMEOUT="4s", RELAY_WEBHOOK_SCHEDULE="1s") as rig:
        rig.start()
        for path in raws:
            submit(rig, hook.url(f"{path}?key=query-secret"), path[1:], webhookHeaders={"x-make-apikey": HEADER})
        submit(rig, strange_tls.url("/?key=query-secret"), "wrong-certificate")
        ended = ("silent", "drip-head", "reset", "garbage", "redirect", "gone", "refuses", "wrong-certificate")
        eventually(lambda: all(rig.status(name)["delivery"]["status"] == "dead" for name in ended), within=60)

        tries = {name: rig.get(f"/api/jobs/{name}")["deliveries"] for name in (*ended, "drip-body", "not-here")}
        twice = {"silent", "drip-head", "reset", "garbage", "wrong-certificate"}
        assert {name for name, posts in tries.items() if len(posts) == 2} >= twice
        assert {name for name in ended if len(tries[name]) == 1} == {"redirect", "gone", "refuses"}
        assert all(post["statusCode"] is None for name in twice for post in tries[name])
        assert all(post["ms"] < 30_000 for posts in tries.values() for post in posts)
        assert "certificate" in tries["wrong-certificate"][0]["reply"]
        eventually(lambda: rig.status("drip-body")["delivery"]["status"] == "delivered")  # its status arrived
        assert rig.status("not-here")["delivery"]["status"] == "pending"  # it has two minutes
        assert not [item for item in hook.received if item.path.startswith("/never")]
        assert strange_tls.received == []
        assert hook.received[0].headers["x-make-apikey"] == HEADER
        logs = rig.worker.output() + rig.api.output()
        assert "query-secret" not in logs and HEADER not in logs
        assert rig.command("backup", "copy.db").returncode == 0
        shown = [rig.command(*command, "--json").stdout for command in (["list"], ["why", "gone"], ["status", "gone"])]
        shown += [str(rig.get(f"/api/jobs/{name}")) for name in tries]
        assert HEADER not in "".join(shown)
        assert HEADER.encode() not in (tmp_path / "copy.db").read_bytes()

        again = rig.submit({"prompt": "x", "webhookUrl": hook.url("/gone?key=query-secret")}).json()
        assert any("410" in warning for warning in again["warnings"])
        bulk = rig.post("/api/claude/bulk", [{"prompt": "x", "webhookUrl": hook.url("/gone?key=query-secret")}]).json()
        assert any("410" in warning for warning in bulk[0]["warnings"])
        cli = rig.command("submit", "x", "--webhook", hook.url("/gone?key=query-secret"))
        assert cli.returncode == 0 and "410" in cli.stderr


def test_one_signed_alert_for_many_dead_callbacks_though_three_processes_watch(tmp_path: Path) -> None:
    """Two workers and the API see the same cause; on the first attempt the alert URL hangs, which delays no other."""
    secret = encode_secret(b"s" * 32)
    settings = {"RELAY_WEBHOOK_SECRET": secret, "RELAY_WEBHOOK_TIMEOUT": "200s"}
    with Receiver() as hook, Receiver() as ops, Rig(tmp_path, **settings) as rig:
        ops.answer("/", Answer(delay=300))
        rig.env["RELAY_ALERT_URL"] = ops.url("/")
        hook.answer("/dead", Answer(status=403))
        rig.start()
        rig.start_worker()
        submit(rig, hook.url("/dead"), *(f"dead-{n}" for n in range(30)))
        [alert] = ops.wait_for(1)
        submit(rig, hook.url("/live"), "live")
        hook.wait_for(1, path="/live")
        eventually(lambda: deliveries(rig)["dead"] == 30)
        time.sleep(5)  # two evaluations by each of the three

        Webhook(secret).verify(alert.body.decode(), alert.headers)
        content = json.loads(alert.body)
        assert content["alert"] == "delivery_dead" and "403" in content["message"]
        assert content["command"] == f"claude-relay redeliver --dead --host 127.0.0.1:{hook.port}"
        assert len(ops.received) == 1

        redelivered = rig.command(*content["command"].split()[1:])
        assert redelivered.returncode == 0 and len(redelivered.stdout.splitlines()) == 30


def test_listen_shows_whether_signatures_are_valid(tmp_path: Path) -> None:
    """A callback of a real worker, and a forged one."""
    secret = encode_secret(b"s" * 32)
    with Rig(tmp_path, RELAY_WEBHOOK_SECRET=secret) as rig:
        rig.start()
        listener = rig._run("listen", RELAY_WEBHOOK_SECRET=secret)
        match = eventually(lambda: re.search(r"http://(127\.0\.0\.1:\d+)/", listener.output()), within=60)
        assert f"RELAY_ALLOW_PRIVATE_URLS={match.group(1)} " in listener.output()
        submit(rig, match.group(0), "r-1")
        eventually(lambda: "r-1\tcompleted\tsignature valid" in listener.output(), within=60)
        rig.http.post(match.group(0), json={"requestId": "r-2"}, headers={"webhook-id": "x"}, timeout=60)
        eventually(lambda: "r-2\t?\tsignature NOT VALID" in listener.output(), within=60)


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
