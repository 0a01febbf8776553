"""Admission by the head: key, rate and size are checked before a body is read."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from claude_relay.api.channel import Channel
from claude_relay.api.serve import listen
from claude_relay.config import Settings
from claude_relay.core.text.rates import Rate
from tests.support.eventually import eventually
from tests.support.live_api import Address, connect, read_answer, serving

from .conftest import KEY

_HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}\r\n"
_MIB = 2**20


def head(path: str = "/api/claude", **fields: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return _HEAD.format(path=path, fields=lines).encode()


@pytest.fixture
def address(make) -> Iterator[Address]:
    with serving(make(rate_limit_submit=Rate(count=3, seconds=900)).app, Settings(port=0)) as address:
        yield address


def spooled() -> int:
    """Bytes of the temporary files that this process holds open: deleted ones, as a spool file is."""
    total = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            if " (deleted)" in str(path.readlink()):
                total += path.stat().st_size
        except OSError:
            continue
    return total


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(Content_Length="1000"), 401),
        (head(Content_Length="1000", X_API_Key="wrong"), 403),
        (head(Transfer_Encoding="chunked"), 401),
        (head("/nowhere", Content_Length="1000"), 401),
        (head(Content_Length=str(33 * _MIB), X_API_Key=KEY), 413),
        (head("/ack/x", Content_Length=str(_MIB)), 413),
        (head("/health", Content_Length=str(_MIB)), 413),
    ],
)
def test_a_head_alone_is_refused_at_once(address, request_: bytes, status: int) -> None:
    """CASES S6: the answer does not wait for a byte of the body."""
    with connect(address) as client:
        client.sendall(request_)
        answer, headers, body = read_answer(client)

        assert (answer, body["status"], headers["connection"]) == (status, status, "close")
        assert client.recv(1) == b""


def test_forty_bodies_without_a_key_are_not_spooled(address) -> None:
    """CASES S6: 40 connections with bodies of 27 MiB."""
    before = spooled()
    clients = [connect(address) for _ in range(40)]
    peak = 0
    try:
        for client in clients:
            client.sendall(head(Content_Length=str(27 * _MIB)))
        for _ in range(8):  # each refused body is read on and thrown away, so that the client sees its response
            for client in clients:
                client.sendall(b"x" * 131_072)
            peak = max(peak, spooled() - before)
        assert [read_answer(client)[0] for client in clients] == [401] * 40
    finally:
        for client in clients:
            client.close()

    assert peak < _MIB


def test_a_client_that_sends_all_of_a_large_body_first_sees_the_refusal(address) -> None:
    """CASES S6: no reset of the connection hides the response."""
    url = f"http://127.0.0.1:{address[1]}/api/claude"
    answer = requests.post(url, data=b"x" * 20 * _MIB, headers={"X-API-Key": "wrong"}, timeout=30)

    assert (answer.status_code, answer.json()["status"]) == (403, 403)


def test_a_body_in_pieces_counts_as_one_request(address) -> None:
    """CASES S6: the rate is spent once, by the head, and is in the response; over it the body is not read."""
    body = json.dumps({"prompt": "Hei"}).encode()
    with connect(address) as client:
        for left in ("2", "1", "0"):
            client.sendall(head(Content_Length=str(len(body)), X_API_Key=KEY, Expect="100-continue"))
            assert read_answer(client)[0] == 100
            client.sendall(body[:5])
            client.sendall(body[5:])
            status, headers, _ = read_answer(client)
            assert (status, headers["x-ratelimit-remaining"]) == (202, left)
        client.sendall(head(Content_Length=str(len(body)), X_API_Key=KEY))
        status, headers, _ = read_answer(client)

    assert (status, "retry-after" in headers) == (429, True)


def test_chunks_to_a_path_without_a_key_are_bounded(address) -> None:
    """CASES S6: no length was announced, so that they are counted."""
    with connect(address) as client:
        client.sendall(head("/ack/x", Transfer_Encoding="chunked"))
        for _ in range(9):
            client.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        status, _, body = read_answer(client)

    assert (status, body["type"]) == (413, "too_large")


def test_pipelined_requests_before_a_slow_body_are_answered_first(address) -> None:
    """CASES S6: a head whose body is on its way waits for its turn."""
    body = json.dumps({"prompt": "Hei"}).encode()
    with connect(address) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        client.sendall(head(Content_Length=str(len(body)), X_API_Key=KEY, Connection="close") + body[:3])
        eventually(lambda: client.recv(65536, socket.MSG_PEEK).count(b"HTTP/1.1 200 OK") == 2)
        client.sendall(body[3:])
        answers = b"".join(iter(lambda: client.recv(65536), b""))

    assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [200, 200, 202]


@pytest.mark.parametrize(("size", "reads", "passes"), [(1_000, 1, 1), (66_000, 1, 0), (66_000, 2, 1), (200_000, 1, 1)])
def test_the_head_goes_before_the_body_unless_the_next_read_may_bring_all_of_it(
    make, size: int, reads: int, passes: int
) -> None:
    """A body of 64 KiB takes one pass; of a large one no more than a read comes before its key."""
    app = make().app
    with contextlib.closing(listen(app, Settings(port=0), map={})) as server:
        server.task_dispatcher.shutdown()
        server.task_dispatcher = Tasks()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel = Channel(server, ours, ("127.0.0.1", 1), server.adj, map={})
            data = head(Content_Length=str(size), X_API_Key="wrong") + b"x" * size
            for start in range(0, 65_536 * reads, 65_536):
                channel.received(data[start : start + 65_536])

            assert len(channel.requests) == passes
            assert all(request.completed == (size < 100_000) for request in channel.requests)


class Tasks:
    """Takes tasks and runs none."""

    def add_task(self, task: object) -> None:
        """Drop it."""

    def shutdown(self) -> None:
        """Nothing to stop."""
