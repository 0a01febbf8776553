"""Connections of the transport for Anthropic: cut at any time, read to their end, one for each request."""

import socket
import threading
import time
from contextlib import contextmanager

import httpx2
import pytest

from claude_relay.claude.deadlines import CallDeadlines, CallTimeouts, DeadlineThread
from claude_relay.claude.direct_transport import DirectTransport, _send, has_proxy
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from tests.support.claude_caller import Caller, a_prompt
from tests.support.eventually import eventually
from tests.support.raw_request import read_request


@contextmanager
def a_server(answer, *, read=True):
    """Serves each connection with those bytes, after it has read the request, or without reading it."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                connections.append(sock)
                if read:
                    read_request(sock)
                sock.sendall(answer)
                if answer:
                    sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", connections
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for sock in connections:
                sock.close()


def fetch(url, **more):
    with httpx2.Client(transport=DirectTransport(), timeout=60) as client:
        return client.post(url, **more)


def test_each_request_has_a_connection_of_its_own():
    """A kept one may die while the next request is sent, which leaves unknown whether the call is billed."""
    with a_server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (url, connections):
        with httpx2.Client(transport=DirectTransport(), timeout=60) as client:
            assert [client.post(url, content=b"x").text for _ in range(2)] == ["ok", "ok"]

        assert len(connections) == 2


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Content-Length: 9\r\n\r\nok", "before its answer ended"),
        (b"Transfer-Encoding: chunked\r\n\r\n9\r\nok", "before its answer ended"),
        (b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nok", "before its answer ended"),
    ],
)
def test_a_body_that_breaks_off_is_not_taken_for_a_complete_one(head, words):
    with a_server(b"HTTP/1.1 200 OK\r\n" + head) as (url, _), pytest.raises(httpx2.RemoteProtocolError, match=words):
        fetch(url, content=b"x")


def test_a_refusal_that_comes_before_the_request_was_read_is_received():
    """As a gateway answers 413: it closes before it has read the body."""
    with a_server(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", read=False) as (url, _):
        assert fetch(url, content=b"x" * 2**24).status_code == 413


def test_interim_responses_are_skipped():
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with a_server(answer) as (url, _):
        assert fetch(url, content=b"x").text == "ok"


def test_a_body_without_a_declared_length_is_sent_in_chunks():
    with a_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, _):
        assert fetch(url, content=iter([b"one", b"", b"two"])).status_code == 200


class _Sends(list):
    """A socket that keeps what each call of `sendall` was given."""

    sendall = list.append


@pytest.mark.parametrize(
    ("content", "sends"),
    [
        (b"short", 1),
        (b"x" * 100_000, 2),
        (lambda: iter([b"one", b"", b"two"]), 1),
        (lambda: iter([b"x" * 10_000, b"y" * 10_000, b"z"]), 2),
        (lambda: iter([b"one", b"y" * 100_000, b"z"]), 3),
    ],
)
def test_a_short_request_goes_out_in_one_piece(content, sends):
    """Its head and its body are one system call and one packet; a long body is not copied."""
    content = content() if callable(content) else content
    request = httpx2.Request("POST", "http://127.0.0.1/v1/messages", content=content)
    sock = _Sends()
    _send(sock, request, None)

    head, body = b"".join(sock).split(b"\r\n\r\n", 1)
    assert head.startswith(b"POST /v1/messages HTTP/1.1\r\n") and len(sock) == sends
    assert body == content if isinstance(content, bytes) else body.endswith(b"\r\n0\r\n\r\n")


def test_a_call_wakes_the_thread_of_the_deadlines_once_it_is_connected():
    """Before that there is nothing to shut down, and it would compete with the call while its request is made."""
    checked = threading.Event()

    def a_call(stop):
        return CallDeadlines(stop=stop, sending=list, on_followup=print, limits=CallTimeouts(), clock=time.monotonic)

    deadlines = a_call(checked.set)
    thread = DeadlineThread(every=0.01)
    try:
        with thread.watch(a_call(lambda: None)):
            pass  # starts the thread
        eventually(lambda: thread._asleep)
        with thread.watch(deadlines), socket.socket() as sock:
            assert thread._asleep and not checked.is_set()
            deadlines.connected(sock)
            assert checked.wait(60)
    finally:
        thread.close()


def test_a_cancel_ends_a_call_that_hangs_in_its_tls_handshake():
    """The server accepts the connection and stays silent; nothing was sent yet."""
    stop = Failure(type=ErrorType.CANCELLED, message="the job was cancelled", remedy=Remedy.FAIL)
    with a_server(b"") as (url, connections):
        caller = Caller(url.replace("http:", "https:"), CallTimeouts(connect=60, check_interval=0.02))
        caller.messages.open()
        failure = caller.messages.call(
            a_prompt(), stop=lambda: stop if connections else None, sending=lambda: None, progress=print
        )
        caller.messages.close()

        assert (failure.type, failure.sent, len(connections)) == (ErrorType.CANCELLED, False, 1)


def test_a_proxy_of_the_environment_is_left_to_httpcore(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert not has_proxy()

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    assert has_proxy()
