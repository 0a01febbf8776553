"""The fetcher against real sockets on loopback: files as they are served, and as they should not be."""

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
def shelf() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def fetcher() -> HttpFetcher:
    return HttpFetcher(allow=LOOPBACK, timeout=10)


@pytest.fixture
def hasty() -> HttpFetcher:
    return HttpFetcher(allow=LOOPBACK, timeout=0.4)


def leading_to(*addresses: str) -> Any:
    def resolver(host: str, port: int, type: int) -> Any:
        return [(socket.AF_INET, type, 6, "", (one, port)) for one in addresses]

    return resolver


def test_a_file_is_fetched_whole(shelf: Receiver, fetcher: HttpFetcher) -> None:
    """By a plain GET that carries nothing of the caller's and asks for no compression."""
    shelf.answer("/a.pdf", Answer(body=PDF))

    got = fetcher.fetch(shelf.url("/a.pdf?x=1"), most=len(PDF))

    assert (got.status, bytes(got.data), got.complete, got.too_large) == (200, PDF, True, False)
    [request] = shelf.received
    assert (request.method, request.path, request.body) == ("GET", "/a.pdf?x=1", b"")
    assert request.headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "x-api-key", "webhook-id"} & set(request.headers)


def test_a_chunked_file_without_a_length_is_fetched_whole(shelf: Receiver, fetcher: HttpFetcher) -> None:
    def chunked() -> list[bytes]:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return [head, *(b"1000\r\n" + b"y" * 4096 + b"\r\n" for _ in range(50)), b"0\r\n\r\n"]

    shelf.answer("/a", Answer(raw=chunked))

    got = fetcher.fetch(shelf.url("/a"), most=1_000_000)

    assert (bytes(got.data), got.complete) == (b"y" * 4096 * 50, True)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n%PDF-1.7",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n%PDF-1.7\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n%PDF-1.7",
    ],
)
def test_half_a_file_is_no_file(shelf: Receiver, fetcher: HttpFetcher, raw: bytes) -> None:
    shelf.answer("/a", Answer(raw=lambda: [raw]))

    got = fetcher.fetch(shelf.url("/a"), most=10_000)

    assert (got.status, got.complete) == (200, False)


def test_of_a_file_that_says_it_is_too_large_nothing_is_read(shelf: Receiver, fetcher: HttpFetcher) -> None:
    shelf.answer("/a", Answer(body=PDF))

    got = fetcher.fetch(shelf.url("/a"), most=1000)

    assert (got.too_large, got.data) == (True, b"")


def test_a_file_without_end_is_left_at_the_limit(shelf: Receiver, fetcher: HttpFetcher) -> None:
    """Memory stays near the limit, however much is sent."""

    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n%PDF-1.7"
        while True:
            yield b"x" * 65_536

    shelf.answer("/a", Answer(raw=endless))
    tracemalloc.start()
    try:
        got = fetcher.fetch(shelf.url("/a"), most=2_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (got.too_large, got.complete) == (True, False)
    assert peak < 8_000_000


def test_room_is_asked_for_before_anything_is_read(shelf: Receiver, fetcher: HttpFetcher) -> None:
    """For as much as the file says it has, or for all that is taken; where there is none, nothing is read."""
    shelf.answer("/told", Answer(body=PDF))
    shelf.answer("/untold", Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\n\r\n", PDF]))
    shelf.answer("/gone", Answer(status=404, body=PDF))
    asked: list[int] = []

    def refuse(size: int) -> bool:
        asked.append(size)
        return False

    for path in ("/told", "/untold", "/gone"):
        got = fetcher.fetch(shelf.url(path), most=400_000, room=refuse)
        assert not got.complete and (got.status == 404 or got.data == b"")

    assert asked == [len(PDF), 400_000]


def test_what_is_waited_for_room_does_not_count(shelf: Receiver) -> None:
    """Neither against the time, nor is a stop forgotten meanwhile."""
    fetcher = HttpFetcher(allow=LOOPBACK, timeout=1.0)
    shelf.answer("/a", Answer(body=PDF))

    def slow(size: int) -> bool:
        threading.Event().wait(1.5)
        return True

    got = fetcher.fetch(shelf.url("/a"), most=400_000, room=slow)
    assert (bytes(got.data), got.complete, got.timed_out) == (PDF, True, False)

    began = time.monotonic()
    got = fetcher.fetch(shelf.url("/a"), most=400_000, room=slow, stop=lambda: time.monotonic() - began > 0.3)
    assert not got.complete and time.monotonic() - began < 1.4


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
def test_garbage_ends_in_words_or_as_no_whole_file(shelf: Receiver, fetcher: HttpFetcher, answer: Answer) -> None:
    """Never in an exception."""
    shelf.answer("/a", answer)

    got = fetcher.fetch(shelf.url(f"/a?{SECRET}"), most=1000)

    assert got.error or not got.complete or len(got.data) <= 5
    assert SECRET not in (got.error or "")


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
def test_what_this_machine_lacks_is_told_apart(fault: Exception, exhausted: bool) -> None:
    """Out of file handles it says nothing of the file server; but no name in a URL can look like that."""

    def resolver(host: str, port: int, type: int) -> Any:
        raise fault

    got = HttpFetcher(resolver=resolver).fetch("https://files.example.com/a", most=1000)

    assert (got.status, got.exhausted) == (None, exhausted) and got.error


def test_a_certificate_for_nobody_is_refused() -> None:
    """Files come under TLS as verified as webhooks go."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as receiver:
        got = HttpFetcher(allow=LOOPBACK).fetch(receiver.url("/a"), most=1000)

    assert got.status is None and "certificate that is not valid" in (got.error or "")


def test_a_redirect_is_not_followed(shelf: Receiver, fetcher: HttpFetcher) -> None:
    shelf.answer("/a", Answer(status=302, headers={"Location": shelf.url("/b")}))

    assert fetcher.fetch(shelf.url("/a"), most=10).status == 302
    assert [one.path for one in shelf.received] == ["/a"]


def test_a_drip_ends_with_the_time(shelf: Receiver, hasty: HttpFetcher) -> None:
    """A byte now and then holds nobody up for longer than the whole may take."""
    shelf.answer("/a", Answer(body=PDF, drip=0.05))
    began = time.monotonic()

    got = hasty.fetch(shelf.url("/a"), most=1_000_000)

    assert (got.status, got.complete, got.timed_out) == (200, False, True)
    assert time.monotonic() - began < 5


def test_silence_ends_with_the_time(shelf: Receiver, hasty: HttpFetcher) -> None:
    shelf.answer("/a", Answer(delay=20))

    got = hasty.fetch(shelf.url(f"/a?{SECRET}"), most=1_000_000)

    assert (got.status, got.timed_out) == (None, True)
    assert got.error == "127.0.0.1 gave no answer within 0.4 s"


def test_who_is_told_to_stop_comes_back_at_once(shelf: Receiver, fetcher: HttpFetcher) -> None:
    """A cancelled job does not wait for a file server."""
    shelf.answer("/a", Answer(delay=20))
    stopped = threading.Event()
    threading.Timer(0.2, stopped.set).start()
    began = time.monotonic()

    got = fetcher.fetch(shelf.url("/a"), most=1_000_000, stop=stopped.is_set)

    assert got.status is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}/?{}", "http://localhost:{}/?{}", "http://[::ffff:127.0.0.1]:{}/?{}"]
)
def test_a_forbidden_address_is_not_called(shelf: Receiver, url: str) -> None:
    got = HttpFetcher().fetch(url.format(shelf.port, SECRET), most=10)

    assert got.blocked and got.error is not None and SECRET not in got.error
    assert shelf.connections == 0


def test_a_name_that_leads_inside_is_not_called(shelf: Receiver) -> None:
    got = HttpFetcher(resolver=leading_to("8.8.8.8", "127.0.0.1")).fetch(shelf.url(host="files.example.com"), most=10)

    assert got.blocked
    assert shelf.connections == 0
