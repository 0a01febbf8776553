"""`HttpSender` against real sockets on loopback: real and misbehaving receivers."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from standardwebhooks import Webhook

from claude_relay import __version__
from claude_relay.core.deliveries.delivery import ReplyClass, classify_reply
from claude_relay.core.deliveries.signing import encode_secret, sign
from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.webhooks.fetcher import HttpFetcher
from claude_relay.webhooks.sender import HttpSender
from tests.support.eventually import eventually
from tests.support.ports import refusing_port
from tests.support.raw_request import read_request
from tests.support.receiver import Answer, Receiver

BODY = '{"requestId":"faktura-1","response":"Blåbær"}'.encode()
LOOPBACK = PrivateAllowlist.parse(["127.0.0.1"])
SECRET = "query-secret"
LARGE = 16_000_000


@pytest.fixture
def hook():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def trust(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def sender(trust):
    return HttpSender(allow=LOOPBACK, timeout=60, trust=trust)


@pytest.fixture
def hasty(trust):
    """A sender with a small budget, in which a busy machine may not even connect."""
    return HttpSender(allow=LOOPBACK, timeout=0.4, trust=trust)


@pytest.fixture
def brief(trust):
    """A sender whose budget suffices for the head of a response on a busy machine."""
    return HttpSender(allow=LOOPBACK, timeout=2.0, trust=trust)


def leading_to(*addresses):
    """A resolver that sends every name there, and counts how often it was asked."""
    asked = []

    def resolver(host, port, type):
        asked.append(host)
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in addresses]

    resolver.asked = asked
    return resolver


def test_a_post_arrives_unchanged(hook, sender):
    """The body's bytes, our headers and the caller's; the reply has status, time and an excerpt."""
    hook.answer("/x", Answer(status=202, body="Mottatt, så takk".encode()))

    reply = sender.post(hook.url(f"/x?key={SECRET}"), BODY, {"x-make-apikey": "k", "webhook-id": "wh_1"})

    [received] = hook.received
    assert received.body == BODY
    assert received.path == f"/x?key={SECRET}"
    assert received.method == "POST"
    assert received.headers == {
        "host": f"127.0.0.1:{hook.port}",
        "content-type": "application/json; charset=utf-8",
        "content-length": str(len(BODY)),
        "user-agent": f"claude-relay/{__version__}",
        "accept-encoding": "identity",
        "connection": "close",
        "x-make-apikey": "k",
        "webhook-id": "wh_1",
    }
    assert (reply.status, reply.excerpt, reply.error, reply.blocked) == (202, "Mottatt, så takk", None, False)
    assert 0 <= reply.ms < 10_000


def test_callers_headers_never_replace_ours(hook, sender):
    """A caller cannot override the body length, host, agent or framing."""
    evil = {
        "Host": "metadata.google.internal",
        "CONTENT-LENGTH": "3",
        "Content-Type ": "text/html",
        "transfer-encoding": "chunked",
        "User-Agent": "someone else",
        "Accept-Encoding": "gzip",
        "Connection": "keep-alive",
        "Expect": "100-continue",
        "x-fine": "yes",
    }

    assert sender.post(hook.url(), BODY, evil).status == 200

    headers = hook.received[0].headers
    assert headers["host"] == f"127.0.0.1:{hook.port}"
    assert headers["user-agent"].startswith("claude-relay/")
    assert headers["accept-encoding"] == "identity"
    assert headers["x-fine"] == "yes"
    assert not {"transfer-encoding", "expect"} & set(headers)
    assert hook.received[0].body == BODY


def test_a_signed_post_verifies_with_the_library(hook, sender):
    """The signed bytes arrive unchanged."""
    secret = encode_secret(bytes(range(32)))
    sender.post(hook.url(), BODY, sign("wh_1", time.time(), BODY, [secret]))

    [received] = hook.received
    assert Webhook(secret).verify(received.body, received.headers)["requestId"] == "faktura-1"


@pytest.mark.parametrize("headers", [{"x": "a\r\nHost: b"}, {"x\n": "a"}, {"x": "☃"}, {"": "x"}, {"x": None}])
def test_headers_that_cannot_be_sent_are_an_error_and_nothing_goes_out(hook, sender, headers):
    """Line breaks never reach the wire."""
    reply = sender.post(hook.url(), BODY, headers)

    assert (reply.status, reply.blocked) == (None, False)
    assert reply.error
    assert hook.received == []


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(status=200), ReplyClass.DELIVERED),
        (Answer(status=204, body=b""), ReplyClass.DELIVERED),
        (Answer(status=302, headers={"Location": "/elsewhere"}), ReplyClass.DEAD),
        (Answer(status=400, body=b"Queue is full."), ReplyClass.RETRY),
        (Answer(status=400), ReplyClass.DEAD),
        (Answer(status=404), ReplyClass.NOT_READY),
        (Answer(status=410), ReplyClass.DEAD),
        (Answer(status=429, headers={"Retry-After": "7"}), ReplyClass.RETRY),
        (Answer(status=503), ReplyClass.RETRY),
        (Answer(reset=True), ReplyClass.RETRY),
    ],
    ids=lambda value: getattr(value, "value", None) or str(value.status),
)
def test_each_response_has_the_verdict_of_the_table(hook, sender, answer, verdict):
    """The reply leads to the verdict in the table of replies, and the sender never retries by itself."""
    hook.answer("/", answer)

    reply = sender.post(hook.url(), BODY, {})

    assert classify_reply(reply) is verdict
    assert len(hook.received) == 1


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("120", 120, 120), (None, None, None), ("9999999", 86400, 86400), ("soon", None, None), ("date", 200, 300)],
)
def test_retry_after_is_read(hook, sender, value, low, high):
    """Seconds or a date, at most a day."""
    if value == "date":
        value = (datetime.now(timezone.utc) + timedelta(seconds=300)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    hook.answer("/", Answer(status=429, headers={"Retry-After": value} if value else {}))

    wait = sender.post(hook.url(), BODY, {}).retry_after

    assert wait is None if low is None else low <= wait <= high


@pytest.mark.parametrize("value", ["5\x1f", "\x1c5", "\x1d\x1e", "1e9"])
def test_an_odd_retry_after_does_not_lose_the_reply(hook, sender, value):
    """CASES M1: `str.strip` and `float` disagree about U+001C to U+001F."""
    hook.answer("/", Answer(headers={"Retry-After": value}))

    assert sender.post(hook.url(), BODY, {}).status == 200


def test_a_location_that_is_no_url_does_not_lose_the_rest_of_the_reply(hook, sender):
    """CASES M1: a redirect to a URL that cannot be parsed is a redirect without one."""
    hook.answer("/", Answer(status=302, headers={"Location": "http://[", "Retry-After": "5"}))

    reply = sender.post(hook.url(), BODY, {})

    assert (reply.status, reply.location, reply.retry_after) == (302, None, 5.0)


def test_a_fault_while_a_reply_is_read_is_a_reply(hook, sender, monkeypatch):
    """CASES M1: a sender never raises, and a status that came counts."""
    monkeypatch.setattr("claude_relay.webhooks.sender.excerpt", lambda *_: 1 / 0)

    assert sender.post(hook.url(), BODY, {}).status == 200


def test_a_fault_before_the_post_is_a_local_fault(sender):
    """CASES M1: the destination is not blamed for it."""
    reply = sender.post(None, BODY, {})

    assert (reply.status, reply.local_fault) == (None, True)


def test_a_redirect_is_neither_followed_nor_read(hook, sender):
    """The second server is never called, and the first server's body is not awaited."""
    with Receiver() as inner:
        for status in (301, 302, 303, 307, 308):
            hook.answer("/", Answer(status=status, headers={"Location": inner.url()}, body=b"x" * 1000, drip=0.05))
            reply = sender.post(hook.url(), BODY, {})
            assert (reply.status, reply.excerpt) == (status, "")

        assert inner.connections == 0
    assert len(hook.received) == 5


HUNDRED_MB = 100 * 2**20


def _endless(head: bytes):
    return lambda: itertools.chain([head], itertools.repeat(b"x" * 2**16, HUNDRED_MB // 2**16))


def _bomb(status: int, **headers: str) -> Answer:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join([packer.compress(bytes(2**20)) for _ in range(HUNDRED_MB // 2**20)] + [packer.flush()])

    return Answer(status=status, headers={"Content-Encoding": "gzip", **headers}, body=packed)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=_endless(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUNDRED_MB)),
        Answer(raw=_endless(b"HTTP/1.1 200 OK\r\n\r\n")),
        Answer(raw=_endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % HUNDRED_MB)),
        Answer(raw=_endless(b"HTTP/1.1 200 OK\r\n")),
        Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\n", *[b"X-A: %s\r\n" % (b"b" * 65_000)] * 98, b"\r\n"]),
        _bomb(200),
        _bomb(302, Location="/elsewhere"),
    ],
    ids=["length", "until-close", "chunked", "head", "headers", "gzip", "gzip-redirect"],
)
def test_a_hundred_megabytes_are_cut_short(hook, sender, answer):
    """Memory does not grow with the size of a reply, nor with its decompressed size."""
    hook.answer("/", answer)
    sender.post(hook.url("/first"), BODY, {})

    tracemalloc.start()
    try:
        reply = sender.post(hook.url(), BODY, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(reply.excerpt) <= 2048
    assert peak < 2 * 2**20


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n"] * 200], "too many headers"),
        ([b"HTTP/1.1 200 OK\r\nX: ", b"x" * 100_000], "too long"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X-A: %s\r\n" % (b"b" * 30_000)] * 3, b"\r\n"], "too long"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 3000, "too long"),
        ([b"x" * 100_000], "not HTTP|too long"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "not HTTP"),
        ([b"\x00\xff\x00\xff\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 OK 200\r\n\r\n"], "not HTTP"),
        ([], "without an answer"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], "without an answer"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"], "no final response"),
    ],
    ids="headers header head flood line ssh bytes status silence interim switch".split(),
)
def test_an_invalid_response_is_an_error_to_retry(hook, sender, pieces, words):
    """Garbage becomes an error text, with bounded memory."""
    hook.answer("/", Answer(raw=lambda: pieces))

    reply = sender.post(hook.url(f"/?key={SECRET}"), BODY, {})

    assert reply.status is None
    assert any(part in reply.error for part in words.split("|")), reply.error
    assert classify_reply(reply) is ReplyClass.RETRY
    assert SECRET not in reply.error


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nonly this"],
        [b"HTTP/1.0 200 OK\n\nonly this"],
    ],
    ids=["short", "cut-chunks", "bad-chunk", "bad-length", "old"],
)
def test_a_status_counts_even_if_its_body_breaks_off(hook, sender, pieces):
    """The receiver has accepted the callback; the received part of the body is kept."""
    hook.answer("/", Answer(raw=lambda: pieces))

    reply = sender.post(hook.url(), BODY, {})

    assert (reply.status, reply.excerpt) == (200, "only this")


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_an_interim_response_is_not_the_response(hook, sender, interim):
    """An accepted callback is not sent again because its receiver, or a proxy, sent 102 or 103 first."""
    hint = b"HTTP/1.1 %s\r\nLink: </x>\r\n\r\n" % interim
    hook.answer("/", Answer(raw=lambda: [hint, hint, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nAccepted"]))

    reply = sender.post(hook.url(), BODY, {})

    assert (reply.status, reply.excerpt) == (200, "Accepted")


@pytest.mark.parametrize(
    "piece",
    [b"X-A: b\r\n" * 8192, b"1;" + b"x" * 65_000 + b"\r\nz\r\n"],
    ids=["trailers", "extensions"],
)
def test_chunk_lines_and_trailers_are_bounded(hook, sender, piece):
    """A hundred megabytes of lines around a small body are not read; the status counts."""
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"
    end = b"0\r\n" if piece.startswith(b"X") else b""
    read = itertools.count()

    def flood():
        yield start + end
        for _ in range(HUNDRED_MB // len(piece)):
            next(read)
            yield piece

    hook.answer("/", Answer(raw=flood))

    reply = sender.post(hook.url(), BODY, {})

    assert reply.status == 200 and reply.excerpt.startswith("only this")
    assert next(read) * len(piece) < HUNDRED_MB // 4


def _slowly(text: bytes):
    return lambda: (bytes([byte]) for byte in text)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(delay=60), None),
        (Answer(raw=_slowly(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 5000), drip=0.02), None),
        (Answer(raw=lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), drip=0.02), None),
        (Answer(body=b"y" * 5000, drip=0.02), 200),
        (Answer(status=500, body=b"y" * 5000, drip=0.02), 500),
    ],
    ids=["silence", "head", "interim", "body", "error-body"],
)
def test_a_drip_does_not_outlast_the_deadline(hook, hasty, brief, answer, status):
    """The POST and its connection end at the deadline, however steadily bytes arrive."""
    hook.answer("/", answer)

    reply = (hasty if status is None else brief).post(hook.url(), BODY, {})

    assert 350 <= reply.ms < 60_000
    assert reply.status == status
    if status is None:
        assert "gave no answer within 0.4 s" in reply.error
        assert classify_reply(reply) is ReplyClass.RETRY
    else:
        assert reply.excerpt.startswith("yyy")
    assert _posting_threads_end()


def test_a_receiver_has_the_whole_timeout_to_answer(hook, sender):
    """CASES M3: pauses of 1.5 s before the request is read, before the status or in the body, within the timeout."""
    head = b"HTTP/1.1 202 OK\r\nContent-Length: 4\r\n\r\n"
    hook.answer("/status", Answer(status=202, body=b"half", delay=1.5))
    hook.answer("/body", Answer(raw=lambda: [head + b"ha", b"lf"], drip=1.5))

    def read_late():
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as request:
            time.sleep(1.5)  # the time that the receiver takes: the request is larger than all buffers
            for line in request:
                if line == b"\r\n":
                    break
            request.read(LARGE)
            connection.sendall(head + b"half")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        listening.settimeout(30)
        pool.submit(read_late)
        unread = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        calls = [(hook.url("/status"), BODY), (hook.url("/body"), BODY), (unread, bytes(LARGE))]
        replies = list(pool.map(lambda call: sender.post(*call, {}), calls))

    assert [(reply.status, reply.excerpt, reply.error) for reply in replies] == [(202, "half", None)] * 3
    assert all(reply.ms >= 1400 for reply in replies)


def test_a_post_waits_for_a_thread_until_its_timeout(hook, trust):
    """CASES M3: a lookup of 1.5 s that takes the only thread delays the next POST, and both are delivered."""
    waits = iter([1.5, 0.0])

    def resolver(host, port, type):
        time.sleep(next(waits))  # the name server's time
        return [(socket.AF_INET, type, 6, "", ("127.0.0.1", port))]

    sender = HttpSender(allow=LOOPBACK, timeout=60, limit=1, trust=trust, resolver=resolver)
    with ThreadPoolExecutor() as pool:
        replies = list(pool.map(lambda _: sender.post(hook.url(host="hook.example.com"), BODY, {}), range(2)))

    assert [(reply.status, reply.error) for reply in replies] == [(200, None)] * 2
    assert max(reply.ms for reply in replies) >= 1400


def _posting_threads_end() -> bool:
    return eventually(lambda: all(thread.name != "http-post" for thread in threading.enumerate()))


def test_a_receiver_that_never_reads_is_cut_off(hasty):
    """A body that is not read cannot block the sender."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reply = hasty.post(f"http://127.0.0.1:{listening.getsockname()[1]}/", bytes(8_000_000), {})

    assert reply.status is None
    assert reply.ms < 60_000
    assert _posting_threads_end()


def test_a_hanging_lookup_ends_at_the_deadline_and_sends_nothing_later(hook):
    """A lookup cannot be cancelled; it occupies a thread until it returns, and then nothing is sent."""
    go, back = threading.Event(), threading.Event()

    def stuck(host, port, type):
        go.wait(60)
        back.set()
        return [(socket.AF_INET, type, 6, "", ("127.0.0.1", port))]

    sender = HttpSender(allow=LOOPBACK, timeout=0.2, limit=1, resolver=stuck)
    url = hook.url(host="hook.example.com")

    first, second = sender.post(url, BODY, {}), sender.post(url, BODY, {})
    go.set()

    assert "could not be looked up within 0.2 s" in first.error
    assert "take up all threads" in second.error
    assert first.local_fault and second.local_fault
    assert back.wait(30)
    assert _posting_threads_end()
    assert hook.connections == 0
    assert eventually(lambda: "could not be" not in (sender.post(url, BODY, {}).error or ""))


def test_a_refused_connection_is_reported(sender):
    """A refused connection is retried later."""
    with refusing_port() as port:
        reply = sender.post(f"http://127.0.0.1:{port}/?key={SECRET}", BODY, {})

    assert (reply.status, reply.error, reply.local_fault) == (None, "127.0.0.1 refused the connection", False)


def test_a_name_that_does_not_exist_is_reported(trust):
    """A failed lookup is retried later."""

    def unknown(host, port, type):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    reply = HttpSender(trust=trust, resolver=unknown).post(f"https://nobody.example.com/?key={SECRET}", BODY, {})

    assert reply.error == "nobody.example.com could not be looked up: no such name"
    assert classify_reply(reply) is ReplyClass.RETRY


@pytest.mark.parametrize(
    "fault, ours",
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), False),
    ],
)
def test_a_local_fault_is_distinguished_from_the_receivers(trust, fault, ours):
    """A resolver that is down, or no free socket, must not slow down deliveries to the receiver."""

    def faulty(host, port, type):
        raise fault

    reply = HttpSender(trust=trust, resolver=faulty).post("https://hook.example.com/", BODY, {})

    assert (reply.status, reply.local_fault) == (None, ours)
    assert classify_reply(reply) is ReplyClass.RETRY


@pytest.mark.parametrize("path", [f"http://127.0.0.1:%d/?key={SECRET}", "http://localhost:%d/", "http://127.1:%d/"])
def test_a_forbidden_url_is_not_called(hook, trust, path):
    """Checked again here: the rules may have changed since submission, and `redeliver` takes other URLs."""
    reply = HttpSender(trust=trust).post(path % hook.port, BODY, {})

    assert reply.blocked
    assert classify_reply(reply) is ReplyClass.DEAD
    assert SECRET not in reply.error
    assert hook.connections == 0


def test_a_name_with_a_private_address_is_not_called(hook, trust):
    """The IP address counts, not the name, and a single private address blocks the name."""
    reply = HttpSender(trust=trust, resolver=leading_to("8.8.8.8", "127.0.0.1")).post(
        hook.url(host="hook.example.com"), BODY, {}
    )

    assert reply.blocked
    assert "hook.example.com leads to an address that is not public" in reply.error
    assert hook.connections == 0


def test_a_name_is_looked_up_once_and_the_checked_address_is_called(hook, trust, monkeypatch):
    """A DNS server that changes its answer (rebinding) is asked only once."""
    resolver = leading_to("127.0.0.1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a second lookup"))
    sender = HttpSender(allow=LOOPBACK, trust=trust, resolver=resolver)

    assert sender.post(hook.url(host="hook.example.com"), BODY, {}).status == 200
    assert resolver.asked == ["hook.example.com"]
    assert hook.received[0].headers["host"] == f"hook.example.com:{hook.port}"


def test_the_next_address_is_tried_when_the_first_does_not_answer(hook, trust):
    """A name with an unreachable and a reachable address is delivered to."""
    sender = HttpSender(
        allow=PrivateAllowlist.parse(["127.0.0.0/8"]), trust=trust, resolver=leading_to("127.0.0.9", "127.0.0.1")
    )

    assert sender.post(hook.url(host="hook.example.com"), BODY, {}).status == 200


def test_the_time_is_divided_among_addresses_that_do_not_answer(hook, trust):
    """An address that does not answer leaves time for the next, and of hundreds only a few are tried."""
    with socket.create_server(("127.0.0.9", hook.port), backlog=0) as full, contextlib.ExitStack() as waiting:
        for _ in range(3):  # nobody accepts: what comes now gets no answer at all
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        allow, url = PrivateAllowlist.parse(["127.0.0.0/8"]), hook.url(host="hook.example.com")
        two = HttpSender(allow=allow, trust=trust, timeout=4, resolver=leading_to("127.0.0.9", "127.0.0.1"))
        many = HttpSender(allow=allow, trust=trust, resolver=leading_to(*["127.0.0.8"] * 4, "127.0.0.1"))

        assert two.post(url, BODY, {}).status == 200
        assert "refused" in (many.post(url, BODY, {}).error or "")


def test_both_address_families_are_tried(hook, trust):
    """Many addresses of an unreachable family do not delay the other family."""

    def resolver(host, port, type):
        six = [(socket.AF_INET6, type, 6, "", (f"::ffff:127.0.0.{n}", port, 0, 0)) for n in range(2, 9)]
        return [*six, (socket.AF_INET, type, 6, "", ("127.0.0.1", port))]

    sender = HttpSender(allow=PrivateAllowlist.parse(["127.0.0.0/8"]), trust=trust, resolver=resolver)

    assert sender.post(hook.url(host="hook.example.com"), BODY, {}).status == 200


def test_an_ipv6_address_is_called(trust):
    """IPv6 with a bracketed host."""
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listening:
        listening.settimeout(60)
        answered = threading.Thread(target=_answer_once, args=(listening,))
        answered.start()
        reply = HttpSender(allow=PrivateAllowlist.parse(["::1"]), trust=trust).post(
            f"http://[0:0::1]:{listening.getsockname()[1]}/", BODY, {}
        )
        answered.join()

    assert (reply.status, reply.error) == (204, None)


def _answer_once(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_proxies_and_passwords_of_the_environment_are_not_used(hook, sender, monkeypatch, tmp_path):
    """A proxy would resolve the name itself, and .netrc would send a password to the receiver."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url())

        assert sender.post(hook.url(), BODY, {}).status == 200
        assert proxy.connections == 0
    assert "authorization" not in hook.received[0].headers


@pytest.fixture
def secure(authority):
    """Receivers behind TLS: `secure(cert)` starts one."""
    started = []

    def start(certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        names: list[str | None] = []
        context.sni_callback = lambda _, name, __: names.append(name)
        receiver = Receiver(tls=context)
        receiver.names = names
        started.append(receiver.__enter__())
        return receiver

    yield start
    for server in started:
        server.close()


def _calling(trust, timeout=60.0):
    return HttpSender(allow=LOOPBACK, timeout=timeout, trust=trust, resolver=leading_to("127.0.0.1"))


def test_tls_is_checked_against_the_name(authority, secure, trust):
    """SNI, certificate and Host header use the name, while the connection goes to the checked address."""
    hook = secure(authority.issue_cert("hook.example.com"))

    reply = _calling(trust).post(hook.url("/x", host="hook.example.com"), BODY, {})

    assert (reply.status, reply.error) == (200, None)
    assert hook.names == ["hook.example.com"]
    assert hook.received[0].headers["host"] == f"hook.example.com:{hook.port}"


def _yesterday(authority):
    now = datetime.now(timezone.utc)
    return authority.issue_cert(
        "hook.example.com", not_before=now - timedelta(days=2), not_after=now - timedelta(days=1)
    )


@pytest.mark.parametrize(
    ("issue", "words"),
    [
        (lambda authority: authority.issue_cert("other.example.com"), "ostname mismatch"),
        (lambda authority: authority.issue_cert("127.0.0.1"), "ostname mismatch"),
        (_yesterday, "expired"),
        (lambda authority: trustme.CA().issue_cert("hook.example.com"), "issuer"),
    ],
    ids=["wrong-name", "address", "expired", "unknown-authority"],
)
def test_nothing_is_sent_to_a_wrong_certificate(authority, secure, trust, issue, words):
    """Without a valid certificate for the name no byte of the body is sent; the delivery is retried."""
    hook = secure(issue(authority))

    reply = _calling(trust).post(hook.url(f"/?key={SECRET}", host="hook.example.com"), BODY, {})

    assert reply.error.startswith("hook.example.com has a TLS certificate that is not valid: ")
    assert words in reply.error
    assert SECRET not in reply.error
    assert classify_reply(reply) is ReplyClass.RETRY
    assert hook.received == []


def test_a_self_signed_certificate_is_not_trusted_by_default(authority, secure):
    """The production sender trusts public authorities only."""
    hook = secure(authority.issue_cert("hook.example.com"))

    assert "not valid" in _calling(None).post(hook.url(host="hook.example.com"), BODY, {}).error


def test_plain_http_on_an_https_url_is_reported(hook, trust):
    """An https:// URL on a plain HTTP port is an error."""
    url = hook.url(host="hook.example.com").replace("http:", "https:")

    assert "TLS that is not supported" in _calling(trust).post(url, BODY, {}).error


def test_a_handshake_that_never_ends_is_cut_off(trust):
    """The deadline holds during the handshake, when TLS has taken over the socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://hook.example.com:{listening.getsockname()[1]}/"
        reply = _calling(trust, timeout=0.4).post(url, BODY, {})

    assert "gave no answer within 0.4 s" in reply.error
    assert 350 <= reply.ms < 60_000
    assert _posting_threads_end()


def test_a_drip_over_tls_is_cut_off(authority, secure, trust):
    """The deadline holds for a response inside TLS."""
    hook = secure(authority.issue_cert("hook.example.com"))
    hook.answer("/", Answer(body=b"y" * 5000, drip=0.02))

    reply = _calling(trust, timeout=2.0).post(hook.url(host="hook.example.com"), BODY, {})

    assert reply.status == 200
    assert reply.ms < 60_000
    assert _posting_threads_end()


def test_many_threads_share_a_sender(hook, sender):
    """Concurrent deliveries get their own replies, and no thread or connection leaks."""
    accepted = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    hook.answer("/slow", Answer(raw=lambda: hook.wait_for(40) and [accepted]))  # each waits for all
    replies = []
    threads = [
        threading.Thread(target=lambda n=n: replies.append(sender.post(hook.url("/slow"), b"%d" % n, {})))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [reply.status for reply in replies] == [200] * 40
    assert {post.body for post in hook.received} == {b"%d" % n for n in range(40)}
    assert _posting_threads_end()


def test_no_log_contains_the_url(hook, sender, caplog):
    """The path and query of a webhook are secrets; warnings and debug lines of libraries must not contain them."""
    caplog.set_level(logging.DEBUG)
    hook.answer("/broken", Answer(raw=lambda: [b"HTTP/1.1 200 OK\r\nno header at all\r\nX: y\r\n\r\n"]))
    hook.answer("/reset", Answer(reset=True))

    for path in ("/fine", "/broken", "/reset"):
        sender.post(hook.url(f"{path}?key={SECRET}"), BODY, {})

    assert len(hook.received) == 3
    assert SECRET not in caplog.text
    assert "/broken" not in caplog.text


def test_all_clients_of_a_process_share_the_trusted_authorities() -> None:
    """Issue 17 item 5: loaded once, as they are a megabyte and more; a client with its own trusts those."""
    own = ssl.create_default_context()
    clients = [HttpSender(), HttpSender(), HttpFetcher()]

    assert len({id(each._client._trust) for each in clients}) == 1
    assert HttpSender(trust=own)._client._trust is own
