"""The waitress server over a real socket: bodies and malformed requests."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from claude_relay.api.connections import ConnectionLimits
from claude_relay.api.serve import listen
from claude_relay.config import Settings
from tests.support.builders import a_submission

from .conftest import KEY

LIMIT = 64 * 1024


@pytest.fixture
def address(make) -> Iterator[tuple[str, int]]:
    server = listen(make(max_body=LIMIT).app, Settings(port=0, max_body=LIMIT))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield "127.0.0.1", server.effective_port
    server.close()
    thread.join(60)


def raw(address: tuple[str, int], request: bytes) -> tuple[bytes, dict[str, object]]:
    """The header and the JSON body of the response."""
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # more was on its way than was read
            while part := client.recv(65536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")

    return head, json.loads(body)


def post(address: tuple[str, int], body: object) -> requests.Response:
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    return requests.post(f"http://127.0.0.1:{address[1]}/api/claude", data=body, headers=headers, timeout=60)


def test_a_body_over_the_limit_is_refused_by_its_length_alone(address) -> None:
    """Before a byte of the body arrived, with the usual error body."""
    head = f"POST /api/claude HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    header, body = raw(address, head.encode())

    assert header.startswith(b"HTTP/1.1 413 ")
    assert (body["type"], body["status"]) == ("too_large", 413)
    assert "RELAY_MAX_BODY" in str(body["error"])
    assert b"Server:" not in header


def test_chunks_over_the_limit_are_refused_and_smaller_ones_accepted(address) -> None:
    body = json.dumps({"prompt": "Hei"}).encode()

    assert post(address, iter([body[:5], body[5:]])).status_code == 202
    assert post(address, (b"x" * 4096 for _ in range(17))).status_code == 413


_GET = f"GET %s HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n".encode()
_POST = f"POST /api/claude HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()
#: Bytes that must not be parsed as a second request.
_NEXT = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
BROKEN = {
    "rubbish": b"RUBBISH\r\n\r\n",
    "a length below zero": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
    "a space before the colon": b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    "a length and chunks": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _NEXT,
    "chunks and a length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + _NEXT,
    "chunked twice": _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _NEXT,
    "chunked, chunked": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + _NEXT,
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x" + _NEXT,
    "a length with a sign": _POST + b"Content-Length: +2\r\n\r\n{}" + _NEXT,
    "a chunk without a size": _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n" + _NEXT,
    "a chunk longer than its size": _POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n" + _NEXT,
}
OTHERS = {
    "headers too large": (b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "too many headers": (b"GET /health HTTP/1.1\r\n" + b"X: 1\r\n" * 9000 + b"\r\n", 431),
    "an address too long": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "an unknown coding": (_POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "NUL in the path": (_GET % b"/api/status/a\x00b", 404),
    "NUL in the path, written out": (_GET % b"/api/status/a%00b", 404),
    "no UTF-8 in the path": (_GET % b"/api/status/%ff%fe", 404),
    "dots in the path": (_GET % b"/api/status/../../etc/passwd", 404),
    "dots in the path, written out": (_GET % b"/api/status/%2e%2e%2f%2e%2e%2fetc", 404),
    "no UTF-8 in the query": (_GET % b"/api/jobs?limit=%ff", 400),
    "a method of its own": (b"BREW /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    "TRACE": (b"TRACE /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
}


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
def test_a_malformed_request_gets_the_usual_error_body(address, request_: bytes) -> None:
    head, body = raw(address, request_)

    assert head.startswith(b"HTTP/1.") and b" 400 " in head.splitlines()[0]
    assert {"error", "message", "status", "type", "problems", "timestamp"} <= set(body)


@pytest.mark.parametrize(("request_", "status"), OTHERS.values(), ids=OTHERS)
def test_an_unusual_request_gets_the_usual_error_body(address, request_: bytes, status: int) -> None:
    head, body = raw(address, request_)

    assert int(head.split()[1]) == body["status"] == status
    assert {"error", "message", "type", "problems", "timestamp"} <= set(body)
    assert "Traceback" not in str(body)


def test_pipelined_requests_are_answered_in_order(address) -> None:
    """An absolute URL in the request line is accepted, too."""
    request = b"GET http://x/health HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(request * 3 + _GET % b"/api/status/none")
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 404]


def test_slow_clients_do_not_block_others(address) -> None:
    """More connections that never finish their request than there are threads: others do not wait for their end."""
    drops = [socket.create_connection(address, timeout=60) for _ in range(100)]
    try:
        for number, drop in enumerate(drops):
            part = (b"GET /health HTTP/1.1\r\nX-", _POST + b"Content-Length: 1000\r\n\r\n{")[number % 2]
            drop.sendall(part)
        began = time.monotonic()
        for _ in range(5):
            assert requests.get(f"http://127.0.0.1:{address[1]}/health", timeout=60).status_code == 200
            assert post(address, json.dumps({"prompt": "Hei"})).status_code == 202
        assert time.monotonic() - began < ConnectionLimits.head
    finally:
        for drop in drops:
            drop.close()


def test_schemas_of_many_requests_do_not_hold_others_up(address) -> None:
    """CASES S4: 60 requests with schemas of 55 KiB, each another one, held `/health` up for 22 s."""
    statuses: list[int] = []

    def submit(number: int) -> None:
        fields = {f"f{number}x{n}": {"anyOf": [{"type": "string"}, {"type": "null"}]} for n in range(850)}
        schema = {"type": "object", "properties": fields}
        statuses.append(post(address, json.dumps({"prompt": "x", "options": {"outputSchema": schema}})).status_code)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    started, slowest = time.monotonic(), 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert requests.get(f"http://127.0.0.1:{address[1]}/health", timeout=60).status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    for thread in threads:
        thread.join()

    assert set(statuses) <= {202, 503}
    assert 202 in statuses
    # On a busy machine all of it takes longer; held up, `/health` would take all of this time.
    assert slowest < max(5.0, (time.monotonic() - started) / 2)


def test_concurrent_submits_of_one_request_id_are_one_job(address, relay) -> None:
    body = json.dumps({"prompt": "Hei", "requestId": "r-1"})
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(address, body))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [answer.status_code for answer in answers] == [202] * 32
    assert sum("duplicate" not in answer.json() for answer in answers) == 1
    assert sum(relay.queries.overview()["jobs"].values()) == 1


@pytest.mark.parametrize("path", ["/health", "/api/jobs", "/api/status/r-1", "/api/jobs/r-1", "/api/groups/g"])
def test_head_is_answered_wherever_get_is(address, relay, path: str) -> None:
    relay.submit(a_submission("r-1"))
    answer = requests.head(f"http://127.0.0.1:{address[1]}{path}", headers={"X-API-Key": KEY}, timeout=60)

    assert (answer.status_code, answer.content) == (200, b"")
    assert "Server" not in answer.headers


def test_head_is_refused_on_an_ack_url(address) -> None:
    """Link previews send HEAD."""
    assert requests.head(f"http://127.0.0.1:{address[1]}/ack/x", timeout=60).status_code == 405
