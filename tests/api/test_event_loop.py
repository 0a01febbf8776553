"""The main loop: what a round costs, and that it misses nothing. Counts, on real sockets without a thread."""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from claude_relay.api import event_loop
from claude_relay.api.connections import ConnectionLimits
from claude_relay.api.deferred_response import ENVIRON
from claude_relay.api.serve import listen
from claude_relay.config import Settings
from claude_relay.services import Accepted, Outcome
from tests.support.eventually import eventually
from tests.support.live_api import connect

_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "


_LONG_ANSWER = 2**22

#: The stored submits of `app` that wait for their commit.
stored: list[Callable[[Outcome], None]] = []


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answers at once, a POST once its commit is done, and one of /long at length."""
    answer = b"x" * _LONG_ANSWER + b"ok" if environ["PATH_INFO"] == "/long" else b"ok"
    start_response("200 OK", [("content-length", str(len(answer)))])
    if environ["REQUEST_METHOD"] == "POST":
        environ[ENVIRON].store = stored.append
    return [answer]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server whose rounds the test makes; all connections are asked in the first one only."""
    monkeypatch.setattr(event_loop, "_SWEEP", math.inf)
    server = listen(app, Settings(port=0, threads=2), limits=ConnectionLimits(each=1_000))  # type: ignore[arg-type]
    yield server
    for channel in list(server.active_channels.values()):
        channel.handle_close()
    server.task_dispatcher.shutdown(timeout=1)
    server.close()


@pytest.fixture
def clients(server: Any) -> Iterator[list[socket.socket]]:
    """A hundred and twenty connections that no round has accepted yet."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(("127.0.0.1", server.effective_port))) for _ in range(120)]


def test_connections_that_arrive_together_are_accepted_in_few_rounds(server: Any, clients: list[socket.socket]) -> None:
    """Issue 13, proof: 120 in two rounds; it was one in each, over all that were there."""
    for _ in range(2):
        server.event_loop.round(1.0)

    assert len(server.active_channels) == 120
    assert server.event_loop.asked < 200


def test_a_round_asks_those_connections_only_in_which_something_happens(
    server: Any, clients: list[socket.socket]
) -> None:
    """Issue 13, proof: beside 119 slow connections a request costs as much as beside none."""
    loop = server.event_loop
    for client in clients[1:]:
        client.sendall(_HEAD)
    eventually(lambda: loop.round(0.01) or all(each.is_counted for each in channels(server)[1:]))  # type: ignore[func-returns-value]
    for _ in range(3):
        loop.round(0.0)
    before, rounds = loop.asked, 0
    for _ in range(20):
        clients[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        clients[0].setblocking(False)
        answer = b""
        while not answer.endswith(b"ok"):
            loop.round(0.01)
            rounds += 1
            with contextlib.suppress(BlockingIOError):
                answer += clients[0].recv(1_000)

    assert loop.asked - before <= 4 * rounds  # the listener, the pipe of the threads, and this connection


def test_connections_that_wait_for_a_commit_are_not_asked(
    server: Any, clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round costs nothing for 120 submits that wait for the disk; each is answered, and the connection serves on."""
    loop = server.event_loop
    stored.clear()
    for path in (b"/", b"/long"):
        for client in clients if path == b"/" else clients[:1]:
            client.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % path)
        wanted = len(clients) if path == b"/" else 1
        eventually(lambda wanted=wanted: loop.round(0.01) or len(stored) == wanted)  # type: ignore[func-returns-value, misc]
        for _ in range(3):
            loop.round(0.0)
        before = loop.asked
        for _ in range(20):
            loop.round(0.0)
        assert loop.asked - before <= 2 * 20  # the listener, and the pipe of the threads

        for done in stored[:]:
            done(Accepted(job=None))  # type: ignore[arg-type]
        stored.clear()
        for client in clients[:wanted]:
            client.setblocking(False)
            answer = bytearray()
            while not answer.endswith(b"ok"):
                loop.round(0.01)
                with contextlib.suppress(BlockingIOError):
                    answer += client.recv(2**16)
            assert len(answer) > (_LONG_ANSWER if path == b"/long" else 0)
            client.setblocking(True)


def channels(server: Any) -> list[Any]:
    """The connections, oldest first."""
    return list(server.active_channels.values())


def test_a_connection_that_another_event_closes_is_forgotten_and_its_number_used_again(
    server: Any, clients: list[socket.socket]
) -> None:
    """One that is closed for another's sake, or by its client: the next ones are served under the same numbers."""
    loop = server.event_loop
    for _ in range(5):
        loop.round(0.1)
    channels(server)[0].evict()
    clients[1].close()
    eventually(lambda: loop.round(0.01) or len(server.active_channels) == 118)  # type: ignore[func-returns-value]
    for _ in range(2):
        with connect(("127.0.0.1", server.effective_port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            client.setblocking(False)
            answer = b""
            while not answer.endswith(b"ok"):
                loop.round(0.01)
                with contextlib.suppress(BlockingIOError):
                    answer += client.recv(1_000)
        eventually(lambda: loop.round(0.01) or len(server.active_channels) == 118)  # type: ignore[func-returns-value]


def test_all_connections_are_asked_now_and_then(
    server: Any, clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For their deadlines: of 120 that send nothing, all are closed once theirs has passed."""
    for _ in range(5):
        server.event_loop.round(0.1)
    assert len(server.active_channels) == 120
    monkeypatch.setattr(event_loop, "_SWEEP", 0.0)
    for channel in channels(server):
        channel._began -= 60

    eventually(lambda: server.event_loop.round(0.01) or not server.active_channels)  # type: ignore[func-returns-value]
