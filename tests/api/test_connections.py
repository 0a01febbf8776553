"""Slow and idle connections: deadlines, and bounds on incomplete requests."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import requests

from claude_relay.api.connections import ConnectionLimits, IncompleteRequests
from claude_relay.api.limits import network_of
from claude_relay.config import Settings
from claude_relay.services import MAX_DOWNLOADS
from tests.support.eventually import eventually
from tests.support.live_api import Address, connect, read_answer, serving

from .conftest import KEY

_HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "
_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
_BODY = json.dumps({"prompt": "x" * 100}).encode()
_SUBMIT = f"POST /api/claude HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(_BODY)}\r\n".encode()
_SUBMIT += b"Content-Type: application/json\r\n\r\n"


@pytest.fixture
def start(make) -> Iterator[Callable[..., Address]]:
    """Serve the app with the given limits and settings."""
    with contextlib.ExitStack() as stack:

        def start(trusted_proxy: str | None = None, **limits: float) -> Address:
            settings = Settings(port=0, trusted_proxy=trusted_proxy)
            return stack.enter_context(serving(make().app, settings, limits=ConnectionLimits(**limits)))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    yield clients
    for client in clients:
        client.close()


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed it, after an answer or without one."""
    client.setblocking(False)
    try:
        return client.recv(65536, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        client.settimeout(60)


def health(address: Address) -> float:
    """Seconds until a new connection is answered."""
    began = time.monotonic()
    assert requests.get(f"http://127.0.0.1:{address[1]}/health", timeout=60).status_code == 200
    return time.monotonic() - began


@pytest.mark.parametrize("sources", [["127.0.0.2"] * 1000, [f"127.0.1.{n % 40 + 1}" for n in range(400)]])
def test_health_is_answered_while_slow_connections_drip(start, clients, sources: list[str]) -> None:
    """CASES S5: 1,000 from one address, and 400 from 40."""
    address, times = start(), []
    for number, source in enumerate(sources):
        client = connect(address, source)
        clients.append(client)
        with contextlib.suppress(OSError):
            client.sendall(_HEAD if number % 2 else _SUBMIT + _BODY[:1])
        if number % 50 == 49:
            for each in clients:
                with contextlib.suppress(OSError):
                    each.send(b"x")
            times.append(health(address))

    assert statistics.median(times) < 5, times  # 0.01 where the relay has a processor; else until they time out
    if len(sources) == 1000:
        eventually(lambda: sum(not is_closed(each) for each in clients) <= 65)


def test_silent_and_idle_connections_leave_room(start, clients) -> None:
    """CASES S5, its siblings: connections that send nothing, and idle ones after a request."""
    address = start(connections=50)
    for number in range(200):
        client = connect(address)
        clients.append(client)
        if number % 2:
            client.sendall(_HEALTH)
            assert read_answer(client)[0] == 200
    health(address)

    assert is_closed(clients[0]) and is_closed(clients[1])


def test_clients_that_do_not_read_leave_room(clients) -> None:
    """CASES S5, its siblings: responses larger than the buffers of the kernel, of which nothing is read."""

    def app(environ: dict[str, str], start_response: Callable[..., object]) -> list[bytes]:
        body = b"x" * (8 * 2**20) if environ["PATH_INFO"] == "/large" else b"{}"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serving(app, Settings(port=0, threads=2), limits=ConnectionLimits(connections=10)) as address:
        for _ in range(130):  # more than the last resort of waitress, at which it stops to listen
            clients.append(connect(address))
            clients[-1].sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert clients[-1].recv(1) == b"H"
        health(address)


def test_a_drip_does_not_prolong_the_deadline(start) -> None:
    """CASES S5: a head and a body that go on arriving, byte by byte, end with 408."""
    address = start(head=1.0, body=1.0)
    for beginning in (_HEAD, _SUBMIT):
        with connect(address) as client:
            client.sendall(beginning)
            while not select(client):
                client.send(b"x" if beginning is _HEAD else b" ")
            status, headers, body = read_answer(client)

            assert (status, body["status"], headers["connection"]) == (408, 408, "close")


def select(client: socket.socket) -> bool:
    """Whether there is something to read within a moment."""
    client.settimeout(0.05)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        client.settimeout(60)


def test_blank_lines_do_not_prolong_the_deadline(start) -> None:
    """CASES S5: they are no request."""
    with connect(start(head=0.5)) as client:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not select(client) and not is_closed(client):
                client.send(b"\r\n\r\n")
                assert time.monotonic() - began < 60


def test_an_idle_connection_is_not_subject_to_the_deadline(start) -> None:
    """CASES S5: silence between two requests is not an incomplete request."""
    address = start(head=1.0, body=1.0)
    with connect(address) as idle, connect(address) as probe:
        idle.sendall(_HEALTH)
        assert read_answer(idle)[0] == 200
        probe.sendall(_HEAD)
        assert read_answer(probe)[0] == 408  # by then the time is over for both
        idle.sendall(_HEALTH)
        assert read_answer(idle)[0] == 200


def test_the_oldest_incomplete_request_of_an_address_is_closed(start, clients) -> None:
    """CASES S5: others keep theirs, and so does one whose key was checked."""
    address = start(each=3)
    other, upload = connect(address, "127.0.0.9"), connect(address, "127.0.0.8")
    clients += [other, upload]
    other.sendall(_HEAD)
    upload.sendall(_SUBMIT + _BODY[:1])
    slow = [connect(address, "127.0.0.8") for _ in range(3)]
    clients += slow
    for client in slow:
        client.sendall(_HEAD)
    eventually(lambda: is_closed(slow[0]))
    other.sendall(b"x\r\n\r\n")
    upload.sendall(_BODY[1:])

    assert not any(map(is_closed, slow[1:]))
    assert (read_answer(other)[0], read_answer(upload)[0]) == (200, 202)


def test_the_trusted_proxy_has_no_bound_of_its_own(start, clients) -> None:
    """CASES S5: it sends for many clients; the bound on all of them holds."""
    address = start(trusted_proxy="127.0.0.8", each=3, total=6)
    for _ in range(6):
        clients.append(connect(address, "127.0.0.8"))
        clients[-1].sendall(_HEAD)
    health(address)
    assert not any(map(is_closed, clients))

    clients.append(connect(address, "127.0.0.8"))
    clients[-1].sendall(_HEAD)
    eventually(lambda: is_closed(clients[0]))
    assert not any(map(is_closed, clients[1:]))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("localhost", "localhost"),
    ],
)
def test_an_address_counts_by_the_network_of_one_customer(address: str, network: str) -> None:
    assert network_of(address) == network


def test_requests_over_ipv6_and_a_unix_socket_are_answered(make, tmp_path) -> None:
    """CASES S5, S6: there the peer has no IPv4 address; `localhost`, the Unix socket's, has no bound of its own."""
    unix, six = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET6)
    unix.bind(str(tmp_path / "s"))
    six.bind(("::1", 0))
    for listener in (unix, six):
        listener.listen()
        peer = listener.getsockname()
        with serving(make().app, Settings(trusted_proxy="::1"), sockets=[listener], limits=ConnectionLimits(each=1)):
            for _ in range(2):
                client = socket.socket(listener.family)
                with client:
                    client.settimeout(60)
                    client.connect(peer)
                    client.sendall(_SUBMIT)
                    client.sendall(_BODY)
                    assert read_answer(client)[0] == 202


def test_every_address_is_that_of_ipv4_too(make) -> None:
    """CASES C6, a sibling: RELAY_HOST=:: as platforms with IPv6 ask for; the image's health check is over IPv4."""
    with serving(make().app, Settings(port=0, host="::")) as (_, port):
        for host in ("127.0.0.1", "::1"):
            with connect((host, port), "::1" if ":" in host else "127.0.0.1") as client:
                client.sendall(_HEALTH)
                assert read_answer(client)[0] == 200


@dataclass(eq=False)
class FakeConnection:
    client: str = "a"
    evictable: bool = True
    admitted: bool = False
    closed: bool = field(default=False, init=False)

    def evict(self) -> None:
        self.closed = True


def test_a_complete_request_is_never_closed() -> None:
    """CASES S5: not even where all connections of the address are complete."""
    incomplete = IncompleteRequests(ConnectionLimits(each=2, total=3))
    complete = [FakeConnection(evictable=False) for _ in range(4)]
    for connection in complete:
        incomplete.add(connection)
    first, second = FakeConnection("b", admitted=True), FakeConnection("c")
    incomplete.add(first)
    assert (first.closed, len(incomplete)) == (True, 4)
    incomplete.add(second)

    assert second.closed and not any(connection.closed for connection in complete)
    for connection in complete:
        incomplete.discard(connection)
    assert len(incomplete) == 0


def test_pipelined_requests_of_clients_that_do_not_read_stop_no_thread(clients) -> None:
    """CASES S5, its siblings: the bytes behind a request wait until its response was read."""
    answered: list[str] = []

    def app(environ: dict[str, str], start_response: Callable[..., object]) -> list[bytes]:
        answered.append(environ["PATH_INFO"])
        body = b"x" * (4 * 2**20) if environ["PATH_INFO"].startswith("/large") else b"{}"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serving(app, Settings(port=0, threads=1)) as address:
        for number in range(40):  # more than there are threads
            clients.append(connect(address))
            clients[-1].sendall(
                b"".join(b"GET /large/%d/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (number, n) for n in range(9))
            )
        eventually(lambda: {path for path in answered if path.endswith("/0")} == {f"/large/{n}/0" for n in range(40)})
        health(address)

    assert len(answered) < 40 * 9


def test_pipelined_requests_are_answered_one_after_the_other(start) -> None:
    """CASES S5: each in its turn, with its body, also where a read ends within one."""
    piece = _HEALTH + _SUBMIT + _BODY
    with connect(start()) as client:
        for part in (piece * 3 + piece[:-7], piece[-7:]):
            client.sendall(part)
        received = b""
        while received.count(b"HTTP/1.1 ") < 8 or not received.endswith(b"}"):
            received += client.recv(65536)

    assert [answer[:3] for answer in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"202"] * 4


@pytest.fixture
def download(make, relay, clients) -> Callable[[Address], bytes]:
    """Begin to download results that never end, and read no more than the status line."""
    relay.collection_results.json = lambda ref: itertools.repeat(b" " * (4 * 2**20))
    request = f"GET /api/collections/c-1/results HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode()

    def download(address: Address) -> bytes:
        clients.append(connect(address))
        clients[-1].sendall(request)
        return clients[-1].recv(12)

    return download


def test_clients_that_read_results_slowly_leave_threads_for_others(start, download, clients) -> None:
    """CASES S5, its siblings: downloads are bounded, and one whose client leaves makes room for another."""
    address = start()
    for _ in range(MAX_DOWNLOADS):
        assert download(address) == b"HTTP/1.1 200"
    assert download(address) == b"HTTP/1.1 503"
    assert b"retry-after: 5" in clients[-1].recv(65536).lower()
    health(address)

    clients[0].close()
    eventually(lambda: download(address) == b"HTTP/1.1 200")


def test_a_client_that_reads_nothing_of_its_results_is_disconnected(start, download, clients) -> None:
    """CASES S5, its siblings: its thread is free again."""
    address = start(read=0.2)
    for _ in range(MAX_DOWNLOADS + 1):
        eventually(lambda: download(address) == b"HTTP/1.1 200")
    health(address)


def test_a_body_in_millions_of_small_chunks_is_refused(start) -> None:
    """CASES S5, its siblings: each chunk costs as much as a thousand bytes; a client that sends words is accepted."""
    head = _SUBMIT.replace(f"Content-Length: {len(_BODY)}".encode(), b"Transfer-Encoding: chunked")
    words = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in re.findall(rb".{1,3}", _BODY))
    address = start()
    with connect(address) as client:
        client.sendall(head + words + b"0\r\n\r\n")
        assert read_answer(client)[0] == 202
    with connect(address) as client:
        client.sendall(head)
        with contextlib.suppress(ConnectionError):  # it is closed meanwhile
            for _ in range(200):
                client.sendall(b"1\r\n \r\n" * 1000)
        status, headers, body = read_answer(client)

    assert (status, headers["connection"]) == (400, "close")
    assert "too many small chunks" in body["error"]
