"""Over a real socket: what the server in front of the app makes of bodies and of broken requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from claude_relay.api.serve import listen
from claude_relay.config import Settings

from .conftest import KEY

LIMIT = 64 * 1024


@pytest.fixture
def address(make) -> Iterator[tuple[str, int]]:
    server = listen(make(max_body=LIMIT).app, Settings(port=0, max_body=LIMIT))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield "127.0.0.1", server.effective_port
    server.close()
    thread.join(5)


def raw(address: tuple[str, int], request: bytes) -> tuple[bytes, dict[str, object]]:
    """The head and the JSON of whatever comes back."""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(request)
        answer = b""
        while part := client.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")

    return head, json.loads(body)


def post(address: tuple[str, int], body: object) -> requests.Response:
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    return requests.post(f"http://127.0.0.1:{address[1]}/api/claude", data=body, headers=headers, timeout=10)


def test_a_body_over_the_limit_is_refused_by_its_length_alone(address) -> None:
    """Before a byte of it came, in the one shape of errors."""
    head = f"POST /api/claude HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    told, body = raw(address, head.encode())

    assert told.startswith(b"HTTP/1.1 413 ")
    assert (body["type"], body["status"]) == ("too_large", 413)
    assert "RELAY_MAX_BODY" in str(body["error"])
    assert b"Server:" not in told


def test_chunks_over_the_limit_are_refused_and_others_taken(address) -> None:
    whole = json.dumps({"prompt": "Hei"}).encode()

    assert post(address, iter([whole[:5], whole[5:]])).status_code == 202
    assert post(address, (b"x" * 4096 for _ in range(17))).status_code == 413


BROKEN = {
    "rubbish": b"RUBBISH\r\n\r\n",
    "a length below zero": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\r\n\r\n",
}


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
def test_a_broken_request_is_answered_in_the_one_shape(address, request_: bytes) -> None:
    head, body = raw(address, request_)

    assert head.startswith(b"HTTP/1.") and b" 400 " in head.splitlines()[0]
    assert {"error", "message", "status", "type", "problems", "timestamp"} <= set(body)


def test_one_request_id_from_many_at_once_is_one_job(address, relay) -> None:
    body = json.dumps({"prompt": "Hei", "requestId": "r-1"})
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(address, body))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert [one.status_code for one in answers] == [202] * 32
    assert sum("duplicate" not in one.json() for one in answers) == 1
    assert sum(relay.read.overview()["jobs"].values()) == 1


def test_monitors_may_ask_with_head(address) -> None:
    answer = requests.head(f"http://127.0.0.1:{address[1]}/health", timeout=10)

    assert (answer.status_code, answer.content) == (200, b"")
    assert "Server" not in answer.headers
