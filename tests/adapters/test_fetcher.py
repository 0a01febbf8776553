"""`HttpFetcher` against real sockets on loopback: real and misbehaving file servers."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.webhooks.fetcher import HttpFetcher
from tests.support.receiver import Answer, Receiver

LOOPBACK = PrivateAllowlist.parse(["127.0.0.1"])
SECRET = "query-secret"
PDF = b"%PDF-1.7\n" + b"x" * 300_000


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def fetcher() -> HttpFetcher:
    return HttpFetcher(allow=LOOPBACK, timeout=60)


@pytest.fixture
def hasty() -> HttpFetcher:
    """A fetcher with a small budget, in which a busy machine may not even connect."""
    return HttpFetcher(allow=LOOPBACK, timeout=0.4)


def leading_to(*addresses: str) -> Any:
    def resolver(host: str, port: int, type: int) -> Any:
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in addresses]

    return resolver


def test_a_file_is_fetched_completely(server: Receiver, fetcher: HttpFetcher) -> None:
    """A plain GET without the caller's headers and without compression."""
    server.answer("/a.pdf", Answer(body=PDF))

    result = fetcher.fetch(server.url("/a.pdf?x=1"), max_bytes=len(PDF))

    assert (result.status, bytes(result.data), result.complete, result.too_large) == (200, PDF, True, False)
    [request] = server.received
    assert (request.method, request.path, request.body) == ("GET", "/a.pdf?x=1", b"")
    assert request.headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "x-api-key", "webhook-id"} & set(request.headers)


def test_a_chunked_file_without_a_length_is_fetched_completely(server: Receiver, fetcher: HttpFetcher) -> None:
    def chunked() -> list[bytes]:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return [head, *(b"1000\r\n" + b"y" * 4096 + b"\r\n" for _ in range(50)), b"0\r\n\r\n"]

    server.answer("/a", Answer(raw=chunked))

    result = fetcher.fetch(server.url("/a"), max_bytes=1_000_000)

    assert (bytes(result.data), result.complete) == (b"y" * 4096 * 50, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n%PDF-1.7",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n%PDF-1.7\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n%PDF-1.7",
    ],
)
def test_a_truncated_file_is_incomplete(server: Receiver, fetcher: HttpFetcher, raw: bytes) -> None:
    server.answer("/a", Answer(raw=lambda: [raw]))

    result = fetcher.fetch(server.url("/a"), max_bytes=10_000)

    assert (result.status, result.complete) == (200, False)


def test_nothing_is_read_of_a_file_that_declares_too_large_a_length(server: Receiver, fetcher: HttpFetcher) -> None:
    server.answer("/a", Answer(body=PDF))

    result = fetcher.fetch(server.url("/a"), max_bytes=1000)

    assert (result.too_large, result.data) == (True, b"")


def test_an_endless_file_is_read_up_to_the_limit(server: Receiver, fetcher: HttpFetcher) -> None:
    """Memory stays near the limit."""

    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n%PDF-1.7"
        while True:
            yield b"x" * 65_536

    server.answer("/a", Answer(raw=endless))
    tracemalloc.start()
    try:
        result = fetcher.fetch(server.url("/a"), max_bytes=2_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (result.too_large, result.complete) == (True, False)
    assert peak < 8_000_000


def test_memory_is_reserved_before_the_body_is_read(server: Receiver, fetcher: HttpFetcher) -> None:
    """For the declared length, or the maximum; if refused, nothing is read."""
    server.answer("/declared", Answer(body=PDF))
    server.answer("/undeclared", Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\n\r\n", PDF]))
    server.answer("/missing", Answer(status=404, body=PDF))
    asked: list[int] = []

    def refuse(size: int) -> bool:
        asked.append(size)
        return False

    for path in ("/declared", "/undeclared", "/missing"):
        result = fetcher.fetch(server.url(path), max_bytes=400_000, reserve=refuse)
        assert not result.complete and (result.status == 404 or result.data == b"")

    assert asked == [len(PDF), 400_000]


def test_waiting_for_memory_does_not_count_against_the_timeout(server: Receiver) -> None:
    """A stop still takes effect meanwhile."""
    fetcher = HttpFetcher(allow=LOOPBACK, timeout=3.0)
    server.answer("/a", Answer(body=PDF))

    def slow(size: int) -> bool:
        threading.Event().wait(3.3)
        return True

    result = fetcher.fetch(server.url("/a"), max_bytes=400_000, reserve=slow)
    assert (bytes(result.data), result.complete, result.timed_out) == (PDF, True, False)

    began, go_on = time.monotonic(), threading.Event()
    result = fetcher.fetch(
        server.url("/a"),
        max_bytes=400_000,
        reserve=lambda size: go_on.wait(60),
        stop=lambda: time.monotonic() - began > 0.3,
    )
    go_on.set()
    assert not result.complete and time.monotonic() - began < 30


@pytest.mark.parametrize(
    "answer",
    [
        Answer(reset=True),
        Answer(raw=lambda: [b""]),
        Answer(raw=lambda: [b"\x00\xff garbage\r\n\r\n"]),
        Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n"]),
        Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n%PDF-"]),
        Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n%PDF-"]),
        Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n%PDF-"]),
    ],
)
def test_garbage_is_an_error_or_an_incomplete_file(server: Receiver, fetcher: HttpFetcher, answer: Answer) -> None:
    """Never raises."""
    server.answer("/a", answer)

    result = fetcher.fetch(server.url(f"/a?{SECRET}"), max_bytes=1000)

    assert result.error or not result.complete or len(result.data) <= 5
    assert SECRET not in (result.error or "")


def test_a_fault_of_the_fetcher_is_an_error(
    server: Receiver, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CASES M1: a fetcher never raises, so that its job gets an error to retry."""
    monkeypatch.setattr("claude_relay.webhooks.fetcher.retry_after", lambda *_, **__: 1 / 0)

    result = fetcher.fetch(server.url("/a"), max_bytes=1000)

    assert (result.status, result.error) == (None, "the file could not be fetched (ZeroDivisionError)")


@pytest.mark.parametrize("value", ["5\x1f", "\x1c5", "soon"])
def test_an_odd_retry_after_does_not_lose_the_status(server: Receiver, fetcher: HttpFetcher, value: str) -> None:
    """CASES M1: as for webhooks."""
    server.answer("/a", Answer(status=503, headers={"Retry-After": value}))

    assert fetcher.fetch(server.url("/a"), max_bytes=1000).status == 503


@pytest.mark.parametrize(
    ("fault", "exhausted"),
    [
        (OSError(errno.EMFILE, "too many open files"), True),
        (MemoryError(), True),
        (socket.gaierror(socket.EAI_AGAIN, "its name servers are silent"), False),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), False),
        (OSError(errno.ENETUNREACH, "no way there"), False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
    ],
)
def test_exhaustion_of_this_machine_is_distinguished(fault: Exception, exhausted: bool) -> None:
    """Missing file handles are no evidence against the file server; no name in a URL can imitate that."""

    def resolver(host: str, port: int, type: int) -> Any:
        raise fault

    result = HttpFetcher(resolver=resolver).fetch("https://files.example.com/a", max_bytes=1000)

    assert (result.status, result.exhausted) == (None, exhausted) and result.error


def test_an_untrusted_certificate_is_refused() -> None:
    """TLS is verified as for webhooks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as receiver:
        result = HttpFetcher(allow=LOOPBACK).fetch(receiver.url("/a"), max_bytes=1000)

    assert result.status is None and "certificate that is not valid" in (result.error or "")


def test_a_redirect_is_not_followed(server: Receiver, fetcher: HttpFetcher) -> None:
    server.answer("/a", Answer(status=302, headers={"Location": server.url("/b")}))

    assert fetcher.fetch(server.url("/a"), max_bytes=10).status == 302
    assert [get.path for get in server.received] == ["/a"]


def test_a_drip_ends_at_the_deadline(server: Receiver) -> None:
    """A slow drip does not extend the deadline."""
    server.answer("/a", Answer(body=PDF, drip=0.05))
    began = time.monotonic()

    result = HttpFetcher(allow=LOOPBACK, timeout=2.0).fetch(server.url("/a"), max_bytes=1_000_000)

    assert (result.status, result.complete, result.timed_out) == (200, False, True)
    assert time.monotonic() - began < 60


def test_silence_ends_at_the_deadline(server: Receiver, hasty: HttpFetcher) -> None:
    server.answer("/a", Answer(delay=300))

    result = hasty.fetch(server.url(f"/a?{SECRET}"), max_bytes=1_000_000)

    assert (result.status, result.timed_out) == (None, True)
    assert result.error == "127.0.0.1 gave no answer within 0.4 s"


def test_a_stop_ends_the_fetch_at_once(server: Receiver, fetcher: HttpFetcher) -> None:
    """A cancelled job does not wait for a file server."""
    server.answer("/a", Answer(delay=300))
    began = time.monotonic()

    result = fetcher.fetch(server.url("/a"), max_bytes=1_000_000, stop=lambda: bool(server.received))

    assert result.status is None
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}/?{}", "http://localhost:{}/?{}", "http://[::ffff:127.0.0.1]:{}/?{}"]
)
def test_a_blocked_address_is_not_called(server: Receiver, url: str) -> None:
    result = HttpFetcher().fetch(url.format(server.port, SECRET), max_bytes=10)

    assert result.blocked and result.error is not None and SECRET not in result.error
    assert server.connections == 0


def test_a_name_with_a_private_address_is_not_called(server: Receiver) -> None:
    result = HttpFetcher(resolver=leading_to("8.8.8.8", "127.0.0.1")).fetch(
        server.url(host="files.example.com"), max_bytes=10
    )

    assert result.blocked
    assert server.connections == 0
