"""Reloads of real processes without root or systemd, with a notify socket of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.deliveries.signing import sign
from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.notified import Above
from tests.support.receiver import Receiver
from tests.support.rig import KEY, Rig

pytestmark = pytest.mark.process


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Above]:
    with Above(tmp_path / "notify") as above_socket:
        yield above_socket


def handed_to(above: Above) -> int:
    """The last MAINPID that was notified."""
    match = eventually(lambda: re.search(r"^MAINPID=(\d+)\nREADY=1$", above.all(), re.MULTILINE), within=60)
    return int(match[1])


def has_ended(pid: int) -> bool:
    """Also where the first process of a container collects no orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def ended(pid: int) -> Iterator[None]:
    """End a process that is not a child of the test."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: has_ended(pid))


def test_a_worker_hands_over_in_mid_call(tmp_path: Path, above: Above) -> None:
    """READY, RELOADING, MAINPID: then the new one claims, and the old one ends once its call has."""
    go_on = threading.Event()
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url, NOTIFY_SOCKET=above.path) as rig:
        upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
        rig.start()
        rig.submit({"prompt": "long", "requestId": "long"})
        eventually(lambda: len(upstream.books) == 1)
        rig.worker.signal(signal.SIGHUP)
        with ended(handed_to(above)):
            rig.submit({"prompt": "x", "requestId": "short"})
            assert rig.finished("short")["status"] == "completed"
            assert rig.worker.alive
            assert rig.status("long")["status"] == "processing"
            go_on.set()
            assert rig.worker.wait(60) == 0
            assert rig.status("long")["status"] == "completed"

        assert "RELOADING=1\nMONOTONIC_USEC=" in above.all()
        assert len(upstream.books) == 2


def test_a_reload_reads_the_prices_again(tmp_path: Path, above: Above) -> None:
    """A price file is edited while all runs: from the reload on, its prices apply."""
    prices = tmp_path / "prices.json"

    def priced(dollars: str) -> None:
        row = {"input": dollars, "output": dollars}
        prices.write_text(json.dumps({"dated": "2026-11-24", "models": {"claude-sonnet-5-5": row}}))

    priced("1")
    with (
        FakeClaude() as upstream,
        Rig(tmp_path, upstream=upstream.url, NOTIFY_SOCKET=above.path, RELAY_PRICES=str(prices)).start() as rig,
    ):
        rig.submit({"prompt": "x", "requestId": "before"})
        earlier = rig.finished("before")
        priced("100")
        rig.worker.signal(signal.SIGHUP)
        with ended(handed_to(above)):
            assert rig.worker.wait(60) == 0
            rig.submit({"prompt": "x", "requestId": "after"})
            assert rig.finished("after")["costUsd"] == pytest.approx(100 * earlier["costUsd"])


def test_an_api_hands_its_port_over(tmp_path: Path, above: Above) -> None:
    """The new process listens on the same port, the old one has ended, and no request was refused."""
    with Rig(tmp_path, NOTIFY_SOCKET=above.path) as rig:
        rig.start_api()
        answers: list[int] = []
        stop = threading.Event()

        def submit() -> None:
            while not stop.is_set():
                answers.append(rig.submit({"prompt": "x"}).status_code)

        caller = threading.Thread(target=submit)
        caller.start()
        rig.api.signal(signal.SIGHUP)
        with ended(handed_to(above)):
            assert rig.api.wait(60) == 0
            earlier = len(answers)
            eventually(lambda: len(answers) > earlier + 5)
            stop.set()
            caller.join(60)
            assert set(answers) == {202}
            assert sum(rig.get("/api/overview")["jobs"].values()) == len(answers)


def test_a_stop_ends_waits_and_finishes_requests(tmp_path: Path) -> None:
    """A request that waits for a result is answered at once; one that is being sent is still answered."""
    with Rig(tmp_path) as rig:
        rig.start_api()
        rig.submit({"prompt": "x", "requestId": "r-1", "delay": "1h"})
        body = b'{"prompt": "slowly", "requestId": "r-2", "delay": "1h"}'
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with asking(rig, "GET /api/result/r-1", b"Prefer: wait=50\r\n\r\n") as waiter:
            with asking(rig, "POST /api/claude", more + body[:9]) as slow:
                rig.get("/health")  # the two came before it
                rig.api.signal(signal.SIGTERM)
                answer = waiter.makefile("rb").read()
                assert answer.startswith(b"HTTP/1.1 202")
                assert b"Connection: close" in answer
                assert rig.api.alive
                slow.sendall(body[9:])
                assert slow.makefile("rb").read().startswith(b"HTTP/1.1 202")
        assert rig.api.wait(60) == 0
        rig.start_api()
        assert rig.status("r-2")["status"] == "pending"


def asking(rig: Rig, what: str, rest: bytes) -> socket.socket:
    """A connection with an incomplete request."""
    host, port = rig.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(f"{what} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n".encode() + rest)
    return connection


def test_without_systemd_a_hangup_reads_a_new_key_from_its_file(tmp_path: Path, hook: Receiver) -> None:
    """CASES A8: the running call goes on with the old key, the next one has the new key, as has its callback."""
    key, secret, go_on = tmp_path / "key", tmp_path / "secret", threading.Event()
    key.write_text("sk-ant-the-old-key-0123456789\n")
    secret.write_text(f"whsec_{'b2xk' * 8}\n")
    files = {"ANTHROPIC_API_KEY_FILE": str(key), "RELAY_WEBHOOK_SECRET_FILE": str(secret), "ANTHROPIC_API_KEY": ""}
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url, **files) as rig:
        upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
        rig.start()
        rig.submit({"prompt": "long", "requestId": "long"})
        eventually(lambda: len(upstream.books) == 1)

        key.write_text("")
        rig.worker.signal(signal.SIGHUP)
        eventually(lambda: "were not read again" in rig.worker.output())
        key.write_text("sk-ant-the-new-key-0123456789\n")
        secret.write_text(f"whsec_{'bmV3' * 8}\n")
        rig.worker.signal(signal.SIGHUP)
        eventually(lambda: "secrets read again" in rig.worker.output())
        rig.submit({"prompt": "x", "requestId": "short", "webhookUrl": hook.url("/hook")})
        assert rig.finished("short")["status"] == "completed"
        [called] = hook.wait_for(1, timeout=60)
        go_on.set()
        assert rig.finished("long")["status"] == "completed"

        assert ["old-key" in str(call.headers) for call in upstream.books] == [True, False]
        assert "new-key" in str(upstream.books[1].headers)
        at, keys = int(called.headers["webhook-timestamp"]), (secret.read_text().strip(),)
        expected = sign(called.headers["webhook-id"], at, called.body, keys)
        assert called.headers["webhook-signature"] == expected["webhook-signature"]


def test_without_systemd_a_hangup_of_the_api_changes_the_admin_key(tmp_path: Path) -> None:
    """CASES A8: the old key is refused and the new one accepted by the same process."""
    key = tmp_path / "key"
    key.write_text(KEY)
    with Rig(tmp_path, API_SECRET_KEY="", API_SECRET_KEY_FILE=str(key)) as rig:
        rig.start_api()
        key.write_text("another-key-of-the-rig-0123456789")
        rig.api.signal(signal.SIGHUP)
        eventually(lambda: rig.http.get(f"{rig.url}/api/jobs", timeout=60).status_code == 403)
        rig.http.headers["X-API-Key"] = key.read_text()
        assert rig.http.get(f"{rig.url}/api/jobs", timeout=60).status_code == 200
        assert rig.api.alive


@pytest.mark.parametrize("ignored", [False, True], ids=["plain", "nohup"])
def test_a_hangup_breaks_off_no_call(tmp_path: Path, ignored: bool) -> None:
    """CASES F9: a worker without a supervisor reloads in mid-call; an inherited ignore stays ignored."""
    go_on = threading.Event()
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url) as rig:
        upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
        handler = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)  # daemons inherit it
        try:
            rig.start()
        finally:
            signal.signal(signal.SIGHUP, handler)
        rig.submit({"prompt": "long", "requestId": "long"})
        eventually(lambda: len(upstream.books) == 1)
        for daemon in (rig.worker, rig.api):
            daemon.signal(signal.SIGHUP)
        if not ignored:
            eventually(lambda: "secrets read again" in rig.worker.output())
        rig.submit({"prompt": "x", "requestId": "short"})
        assert rig.finished("short")["status"] == "completed"
        go_on.set()
        assert rig.finished("long")["attempts"] == 1

        assert rig.worker.alive and rig.api.alive
        assert ("secrets read again" in rig.worker.output()) != ignored
        assert len(upstream.books) == 2
