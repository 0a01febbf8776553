"""Answers over TLS whose connection is silent for a while, as most of a call is."""

import socket
import ssl
import sys
import threading
from contextlib import contextmanager

import httpx2
import pytest
import trustme

from claude_relay.claude.deadlines import CallDeadlines, CallTimeouts
from claude_relay.claude.direct_transport import DirectTransport
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from tests.support.claude_caller import Caller, a_prompt
from tests.support.eventually import eventually
from tests.support.fake_claude import started
from tests.support.raw_request import read_request

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def authority(monkeypatch, tmp_path):
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "trusted.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    return made


@contextmanager
def a_server(authority, first, later):
    """Answers one request with the first bytes, and with the later ones once the event is set."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    go_on = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with context.wrap_socket(server.accept()[0], server_side=True) as sock:
                read_request(sock)
                sock.sendall(first)
                go_on.wait(80)
                sock.sendall(later)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.getsockname()[1]}", go_on
        finally:
            go_on.set()
            thread.join()


def watched():
    """Deadlines that never end the call; with them its socket has no timeout."""
    return CallDeadlines(
        stop=lambda: None,
        sending=lambda: None,
        on_followup=lambda step: None,
        limits=CallTimeouts(),
        clock=lambda: 0.0,
    )


@pytest.mark.parametrize("watch", [True, False])
def test_what_follows_a_silence_arrives_whole(authority, watch):
    """Also records larger than what is read at once."""
    text = bytes(range(256)) * 1000
    with a_server(authority, _HEAD + b"begin", text) as (url, go_on):
        extensions = {"progress": watched()} if watch else {}
        with (
            httpx2.Client(transport=DirectTransport(), timeout=80) as client,
            client.stream("POST", url, content=b"x", extensions=extensions) as answer,
        ):
            pieces = answer.iter_raw()
            assert next(pieces) == b"begin"
            go_on.set()
            assert b"".join(pieces) == text


def test_a_silent_answer_is_awaited_outside_of_tls(authority):
    """Within it, each of a thousand silent calls would hold a buffer of 16 KiB."""
    with a_server(authority, _HEAD + b"begin", b"end") as (url, go_on):
        with (
            httpx2.Client(transport=DirectTransport(), timeout=80) as client,
            client.stream("POST", url, content=b"x", extensions={"progress": watched()}) as answer,
        ):
            pieces, got = answer.iter_raw(), []
            assert next(pieces) == b"begin"
            reader = threading.Thread(target=lambda: got.extend(pieces))
            reader.start()

            def waits_in():
                code = sys._current_frames()[reader.ident].f_code
                return code.co_filename.endswith("direct_transport.py") and code.co_name

            eventually(lambda: waits_in() == "readinto")
            go_on.set()
            reader.join()
            assert got == [b"end"]


def test_a_cancel_ends_a_silent_answer(authority):
    """Its connection is shut down by another thread, which ends the wait."""
    stop = Failure(type=ErrorType.CANCELLED, message="the job was cancelled", remedy=Remedy.FAIL)
    with a_server(authority, _HEAD + started(), b"") as (url, _):
        caller = Caller(url, CallTimeouts(check_interval=0.02))
        caller.messages.open()
        begun = []
        failure = caller.messages.call(
            a_prompt(), stop=lambda: stop if begun else None, sending=lambda: None, progress=begun.append
        )
        caller.messages.close()

        assert (failure.type, failure.sent) == (ErrorType.CANCELLED, True)
