"""Broken and malformed streams, and failed connections."""

import pytest

from claude_relay.claude import CallTimeouts
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from claude_relay.errors import StoreUnavailable
from tests.support.claude_caller import HALF, TEXT, Caller, a_prompt
from tests.support.eventually import eventually
from tests.support.fake_claude import END, Hang, Reset, answer, chunk, event, head, started, stopped, written
from tests.support.ports import refusing_port


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((*HALF, END), "stream_cut"),
        (HALF, "stream_cut"),
        ((*HALF, b"ff\r\nevent: con"), "stream_cut"),
        ((*HALF, Reset()), "stream_cut"),
        ((*HALF, *written("x", 1), *stopped()[:1], END), "stream_cut"),
        ((*HALF, chunk(b"event: content_block_delta\ndata: {nope\n\n")), "stream_malformed"),
        ((*HALF, chunk(b"event: content_block_delta\ndata: [1]\n\n")), "stream_malformed"),
        ((*HALF, chunk(b"event: content_block_delta\ndata: \xff\n\n")), "stream_cut"),
        ((*HALF, event("content_block_delta", index=7, delta={"type": "text_delta", "text": "x"})), "stream_malformed"),
        ((*HALF, event("content_block_delta", index=0, delta=None)), "stream_malformed"),
        ((*HALF, event("content_block_delta", index=0, delta={"type": "text_delta", "text": 7})), "stream_malformed"),
        ((head(), started(), *stopped(stop_reason=None)), "incomplete"),
        ((head(), event("message_stop"), END), "incomplete"),
        ((head(), END), "stream_cut"),
        ((head(kind="text/html"), chunk(b"<html>Welcome to the hotel</html>"), END), "not_a_stream"),
        ((head(kind="application/json"), chunk(b"{}"), END), "not_a_stream"),
        ((Reset(),), "connection"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "connection"),
    ],
)
def test_an_incomplete_stream_is_never_a_success(fake, caller, steps, reason):
    """The failure is marked as ambiguous."""
    fake.then(*steps)

    failure = caller()

    assert isinstance(failure, Failure)
    assert (failure.type, failure.remedy, failure.sent) == (ErrorType.UPSTREAM, Remedy.RETRY, True)
    assert (failure.ambiguous, failure.reason) == (True, reason)
    assert failure.partial in ("", "Half an ", "Half an x")


def test_unknown_events_are_ignored(fake, caller):
    fake.then(
        head(),
        event("weather", sky="blue"),
        started(),
        event("content_block_start", index=0, content_block={"type": "hologram", "x": 1}),
        event("content_block_delta", index=0, delta={"type": "hologram_delta", "y": 2}),
        event("content_block_stop", index=0),
        *written(TEXT, 1),
        chunk(b": a comment\n\nid: 7\nretry: 5\nevent: gust\ndata: {}\n\n"),
        *stopped(),
    )

    done = caller()

    assert (done.text, done.content) == (TEXT, [{"type": "hologram", "x": 1}])


def test_an_event_of_ten_megabytes_is_accepted(fake, caller):
    text = "æ" * 5_000_000
    long = event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    fake.then(head(), started(), written("")[0], long, *stopped())

    assert caller().text == text


def test_an_answer_is_complete_even_if_the_connection_stays_open(fake, caller):
    """The message has ended; the rest of the connection is ignored."""
    fake.then(*answer()[:-1], Hang())

    assert caller().text == TEXT
    eventually(lambda: fake.books[0].outcome == "left")


def test_a_refused_connection_is_unambiguous():
    with refusing_port() as port:
        caller = Caller(f"http://127.0.0.1:{port}")
        failure = caller()
        caller.messages.close()

    assert (failure.type, failure.remedy, failure.reason) == (ErrorType.UPSTREAM, Remedy.RETRY, "connect")
    assert (failure.sent, failure.ambiguous, caller.sent) == (False, False, [])
    assert "could not be reached" in failure.message


def test_a_name_that_does_not_resolve_is_unambiguous():
    caller = Caller("http://nowhere.invalid")

    failure = caller()
    caller.messages.close()

    assert (failure.reason, failure.sent, failure.ambiguous) == ("connect", False, False)


def test_a_failed_handshake_is_unambiguous(fake):
    """The server does not support TLS: no byte of the request was sent."""
    caller = Caller(fake.url.replace("http:", "https:"), CallTimeouts(connect=0.3, check_interval=0.02))

    failure = caller()
    caller.messages.close()

    assert (failure.reason, failure.sent, failure.ambiguous, caller.sent) == ("connect", False, False, [])


def test_a_call_that_cannot_be_recorded_is_not_made(fake, caller):
    """The ledger is written before the first byte; if that fails, nothing is sent."""

    def broken():
        raise StoreUnavailable("the disk is full")

    failure = caller.messages.call(a_prompt(), stop=lambda: None, sending=broken, progress=caller.progress.append)

    assert (failure.type, failure.sent, failure.reason) == (ErrorType.INTERNAL, False, "not_recorded")
    assert not fake.books
