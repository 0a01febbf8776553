"""Submits over real sockets: the 202 leaves after the commit, and no thread waits for it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import apsw
import pytest
import requests

from claude_relay.api.deferred_response import ENVIRON, MAX_BODY, DeferredResponse
from claude_relay.config import Settings
from claude_relay.core.jobs.job import State
from claude_relay.services import Relay
from tests.support.eventually import eventually
from tests.support.live_api import serving

from .conftest import KEY

_LONG = 60.0


class Gate:
    """Holds back the commits of a store while it is closed, or fails them."""

    def __init__(self, relay: Relay) -> None:
        self._session = relay._store._session
        self._commit = self._session.commit
        self._session.commit = self._pass
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        self.fault: Exception | None = None

    def _pass(self, *args: object) -> None:
        self.waiting.set()
        assert self.open.wait(_LONG)
        if self.fault is not None:
            raise self.fault
        self._commit(*args)


@pytest.fixture
def gate(relay: Relay) -> Iterator[Gate]:
    gate = Gate(relay)
    yield gate
    gate.open.set()


@pytest.fixture
def address(make, gate: Gate) -> Iterator[tuple[str, int]]:
    with serving(make().app, Settings(port=0)) as address:
        yield address


@pytest.fixture
def submit(address: tuple[str, int]) -> Callable[..., requests.Response]:
    def submit(**body: object) -> requests.Response:
        url, headers = f"http://127.0.0.1:{address[1]}/api/claude", {"X-API-Key": KEY}
        return requests.post(url, json={"prompt": "Hei"} | body, headers=headers, timeout=_LONG)

    return submit


def _request(close: bool = False, **body: object) -> bytes:
    content = json.dumps({"prompt": "Hei"} | body).encode()
    end = "Connection: close\r\n" if close else ""
    head = f"POST /api/claude HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n{end}"

    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _jobs(relay: Relay) -> int:
    return relay.queries.overview()["jobs"].get(State.QUEUED.value, 0)


def test_no_thread_waits_for_a_commit(address, gate: Gate, relay: Relay) -> None:
    """Four times as many submits as there are threads: others are answered meanwhile, and all 202s come after it."""
    gate.open.clear()
    count = 4 * (Settings().threads + 16)
    clients = [socket.create_connection(address, timeout=_LONG) for _ in range(count)]
    for number, client in enumerate(clients):
        client.sendall(_request(close=True, requestId=f"r-{number}"))
    assert gate.waiting.wait(_LONG)
    assert requests.get(f"http://127.0.0.1:{address[1]}/health", timeout=_LONG).ok
    eventually(lambda: len(relay._store._writer._queue) >= count - 256)
    for client in clients:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(_LONG)
    gate.open.set()
    answers = [b"".join(iter(lambda client=client: client.recv(65536), b"")) for client in clients]
    for client in clients:
        client.close()

    assert all(answer.startswith(b"HTTP/1.1 202 ") for answer in answers)
    assert sorted(json.loads(answer.partition(b"\r\n\r\n")[2])["requestId"] for answer in answers) == sorted(
        f"r-{number}" for number in range(count)
    )
    assert _jobs(relay) == count


def test_repeats_in_one_commit_are_one_job(address, gate: Gate, relay: Relay, submit) -> None:
    """The same body is answered as a duplicate, another one with 409, as it is later."""
    gate.open.clear()
    bodies = [{}] * 4 + [{"prompt": "Nei"}] * 4
    with ThreadPoolExecutor(len(bodies)) as pool:
        futures = [pool.submit(submit, requestId="same", **body) for body in bodies]
        assert gate.waiting.wait(_LONG)
        gate.open.set()
        answers = [future.result() for future in futures]
    codes = [answer.status_code for answer in answers]
    new = [answer for answer in answers if answer.ok and "duplicate" not in answer.json()]
    repeats = [answer for answer in answers if answer.ok and answer.json().get("duplicate")]

    assert sorted(codes) == [202] * 4 + [409] * 4
    assert (len(new), len(repeats)) == (1, 3)
    assert all(answer.headers["Idempotency-Replayed"] == "true" for answer in repeats)
    assert _jobs(relay) == 1


def test_a_failed_commit_is_answered_503(gate: Gate, relay: Relay, submit) -> None:
    """Nothing is stored, and the connection serves the next submit."""
    gate.fault = apsw.FullError("no space")
    refused = submit()
    gate.fault = None

    assert (refused.status_code, refused.headers["Retry-After"].isdigit()) == (503, True)
    assert _jobs(relay) == 0
    assert submit().status_code == 202


def test_a_commit_into_a_lost_file_is_answered_503(gate: Gate, relay: Relay, submit, tmp_path) -> None:
    """CASES A1. The commit succeeds, and nothing will find it again."""
    gate.open.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(submit)
        assert gate.waiting.wait(_LONG)
        for file in tmp_path.glob("relay.db*"):
            file.unlink()
        gate.open.set()

        assert answer.result().status_code == 503


def test_pipelined_requests_wait_for_the_commit_before_them(address, relay: Relay) -> None:
    status = f"GET /api/status/first HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    with socket.create_connection(address, timeout=_LONG) as client:
        client.sendall(_request(requestId="first") + status + _request(close=True, requestId="second"))
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [202, 200, 202]
    assert _jobs(relay) == 2


@pytest.mark.parametrize(("size", "defers"), [(MAX_BODY // 2, True), (MAX_BODY, False)])
def test_a_large_body_keeps_its_thread(client, size: int, defers: bool) -> None:
    """There are many more connections than threads, and a slow disk must not fill the memory with bodies."""
    deferred = DeferredResponse()
    client.simulate_post("/api/claude", json={"prompt": "x" * size}, extras={ENVIRON: deferred})

    assert (deferred.store is not None) == defers


def test_a_client_that_leaves_before_the_commit_has_its_job(address, gate: Gate, relay: Relay, submit) -> None:
    gate.open.clear()
    with socket.create_connection(address, timeout=_LONG) as client:
        client.sendall(_request(requestId="left"))
        assert gate.waiting.wait(_LONG)
    gate.open.set()

    assert submit(requestId="left").json()["duplicate"]
    assert submit().status_code == 202
    assert _jobs(relay) == 2


def test_the_time_until_the_commit_is_measured(address, gate: Gate, submit) -> None:
    submit(requestId="a")
    submit(requestId="a")
    metrics = requests.get(f"http://127.0.0.1:{address[1]}/metrics", headers={"X-API-Key": KEY}, timeout=_LONG).text

    assert "claude_relay_accept_seconds_count 2.0" in metrics


def test_a_response_that_ends_the_connection_is_held_too(address, gate: Gate) -> None:
    """The last one of a connection, and one to HTTP/1.0."""
    old = _request().replace(b"HTTP/1.1", b"HTTP/1.0")
    for content in (_request(close=True), old):
        gate.open.clear()
        gate.waiting.clear()
        with socket.create_connection(address, timeout=_LONG) as client:
            client.sendall(content)
            assert gate.waiting.wait(_LONG)
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.settimeout(_LONG)
            gate.open.set()
            answer = b"".join(iter(lambda client=client: client.recv(65536), b""))
        assert b" 202 Accepted\r\n" in answer
        assert b"\r\nConnection: close\r\n" in answer
