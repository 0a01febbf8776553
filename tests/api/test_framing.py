"""Framing of requests: where one ends and the next one begins, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from claude_relay.config import Settings
from tests.support.live_api import Address, connect, exchange, read_answer, serving

from .conftest import KEY

LIMIT = 4 * 2**20
_POST = f"POST /api/claude HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()
_BODY = json.dumps({"prompt": "Hei"}).encode()
_LENGTH = b"Content-Length: %d\r\n" % len(_BODY)
_EXPECT = b"Expect: 100-continue\r\n"


@pytest.fixture
def address(make) -> Iterator[Address]:
    with serving(make(max_body=LIMIT).app, Settings(port=0, max_body=LIMIT)) as address:
        yield address


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
def test_an_expectation_without_a_body_is_answered_at_once_and_leaks_no_header(address, length: bytes) -> None:
    """CASES S3: the next request on the connection must not inherit the key."""
    with connect(address) as client:
        client.sendall(b"GET /api/overview HTTP/1.1\r\nHost: x\r\nX-API-Key: " + KEY.encode() + b"\r\n")
        client.sendall(length + _EXPECT + b"\r\n")
        status, _, _ = read_answer(client)
        client.sendall(b"GET /api/overview HTTP/1.1\r\nHost: x\r\n\r\n")
        second, _, _ = read_answer(client)

    assert (status, second) == (200, 401)


def test_an_expectation_with_a_body_is_told_to_continue(address) -> None:
    """CASES S3: a body that arrives after the 100, then a request of its own on the same connection."""
    with connect(address) as client:
        client.sendall(_POST + _LENGTH + _EXPECT + b"\r\n")
        assert read_answer(client)[0] == 100
        client.sendall(_BODY)
        assert read_answer(client)[0] == 202
        client.sendall(_POST.replace(f"X-API-Key: {KEY}\r\n".encode(), b"") + _LENGTH + b"\r\n" + _BODY)
        assert read_answer(client)[0] == 401


def test_an_expectation_with_a_wrong_key_is_refused_before_the_body(address) -> None:
    """CASES S3, S6: a final answer instead of the 100."""
    with connect(address) as client:
        client.sendall(_POST.replace(KEY.encode(), b"wrong") + _LENGTH + _EXPECT + b"\r\n")
        status, headers, body = read_answer(client)

    assert (status, body["status"], headers["connection"]) == (403, 403, "close")


_NEXT = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
UNFRAMED = {
    "a coding in HTTP/1.0": _POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _NEXT,
    "a folded header": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n b\r\n\r\n" + _NEXT,
    "a folded length": _POST + b"Content-Length:\r\n 2\r\n\r\n{}" + _NEXT,
    "two hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + _NEXT,
    "two equal hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n" + _NEXT,
    "two hosts in HTTP/1.0": b"GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n" + _NEXT,
    "a list of hosts": b"GET /health HTTP/1.1\r\nHost: x, y\r\n\r\n" + _NEXT,
    "no host": b"GET /health HTTP/1.1\r\n\r\n" + _NEXT,
    "HTTP/0.9": b"GET /health\r\n\r\n" + _NEXT,
    "HTTP/0.9, named": b"GET /health HTTP/0.9\r\nHost: x\r\n\r\n" + _NEXT,
    "HTTP/1.2": b"GET /health HTTP/1.2\r\nHost: x\r\n\r\n" + _NEXT,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space before the method": b" GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + _NEXT,
    "a chunk size without an end": _POST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"a" * 7000,
    "a trailer without an end": _POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 40_000,
}


@pytest.mark.parametrize("request_", UNFRAMED.values(), ids=UNFRAMED)
def test_a_request_that_cannot_be_framed_for_certain_is_refused(address, request_: bytes) -> None:
    """CASES S3: 400 in the one error shape, and no byte after it counts as a request."""
    [(status, body)] = exchange(address, request_)

    assert status == json.loads(body)["status"] == 400
    assert {"error", "message", "type", "problems", "timestamp"} <= set(json.loads(body))


@pytest.mark.parametrize("request_", [b"GET /health HTTP/1.0\r\n\r\n", b"\r\nGET /health HTTP/1.0\r\nHost: x\r\n\r\n"])
def test_http_1_0_needs_no_host(address, request_: bytes) -> None:
    [(status, _)] = exchange(address, request_)

    assert status == 200


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (b"application/json", 202),
        (b"application/json; charset=utf-8", 202),
        (b"text/plain", 415),
    ],
)
def test_a_repeated_content_type_is_accepted_where_both_are_the_same(address, second: bytes, status: int) -> None:
    """CASES F15."""
    [(answer, _)] = exchange(
        address, _POST + b"Content-Type: " + second + b"\r\nConnection: close\r\n" + _LENGTH + b"\r\n" + _BODY
    )

    assert answer == status


def test_any_header_that_is_repeated_with_the_same_value_counts_once(address) -> None:
    """CASES F15, its siblings: the key, and the idempotency key."""
    twice = f"X-API-Key: {KEY}\r\n".encode() + b"Idempotency-Key: r-1\r\n" * 2
    [(status, body)] = exchange(address, _POST + twice + b"Connection: close\r\n" + _LENGTH + b"\r\n" + _BODY)

    assert (status, json.loads(body)["requestId"]) == (202, "r-1")
