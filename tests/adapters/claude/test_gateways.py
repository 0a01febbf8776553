"""Answers as gateways send them: complete, with bookkeeping that Anthropic would not send."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.claude.batch_lines import OVERSIZED, parse_result, split_lines
from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, Remedy
from tests.support.claude_caller import QUICK, Caller
from tests.support.fake_claude import END, Drip, FakeClaude, chunk, event, head, started, stopped, written

NOTHING = {"input_tokens": None, "output_tokens": None}
TEXTS = {"input_tokens": "10", "output_tokens": "5"}


@pytest.mark.parametrize("usage", [NOTHING, TEXTS, None, [], {"input_tokens": 1e999, "output_tokens": True}])
@pytest.mark.parametrize("stop_reason", [None, "end_turn", 7])
@pytest.mark.parametrize("message_id", ["msg_1", None])
def test_a_complete_answer_without_its_bookkeeping_is_a_success(
    fake: FakeClaude, caller: Caller, usage: Any, stop_reason: Any, message_id: Any
) -> None:
    """CASES F8."""
    message = {"id": message_id, "type": "message", "model": "claude-sonnet-5-5", "content": [], "usage": usage}
    fake.then(
        head(),
        event("message_start", message=message),
        *written("All of it"),
        event("message_delta", delta={"stop_reason": stop_reason}, usage=usage),
        event("message_stop"),
        END,
    )

    done = caller()

    assert isinstance(done, Completion)
    assert (done.text, done.cost_usd, done.stop_reason) == ("All of it", None, "end_turn")
    assert any("token counts" in warning for warning in done.warnings)
    assert any("stop reason" in warning for warning in done.warnings) == (stop_reason != "end_turn")
    assert len(fake.books) == 1


@pytest.mark.parametrize(
    "left_out", [("message_start",), ("content_block_start",), ("index",), ("message_start", "index")]
)
def test_a_complete_answer_without_its_frame_is_a_success(
    fake: FakeClaude, caller: Caller, left_out: tuple[str, ...]
) -> None:
    """CASES F8: a finished answer is one call, also without `message_start`, a block's start or its index."""
    at = {} if "index" in left_out else {"index": 0}
    pieces = {
        "message_start": started(),
        "content_block_start": event("content_block_start", **at, content_block={"type": "text", "text": ""}),
        "content_block_delta": event("content_block_delta", **at, delta={"type": "text_delta", "text": "All of it"}),
        "content_block_stop": event("content_block_stop", **at),
    }
    fake.then(head(), *(piece for name, piece in pieces.items() if name not in left_out), *stopped())

    done = caller()

    assert isinstance(done, Completion), done
    assert (done.text, len(fake.books)) == ("All of it", 1)


def test_half_a_character_in_a_tool_call_is_replaced(fake: FakeClaude, caller: Caller) -> None:
    """CASES F2, F23: in a tool call's input, a citation or the name of a count; the paid answer can be stored."""
    block = {"type": "tool_use", "id": "t-1", "name": "x\ud83d", "input": {}}
    given = {"type": "input_json_delta", "partial_json": json.dumps({"a": "x\ud83d", "\ud83d": ["\ud83d\ude00"]})}
    counts = {"output_tokens": 5, "x\ud83d": 3}
    pieces = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": given},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {"t": "\ude00"}}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": counts},
        {"type": "message_stop"},
    ]
    fake.then(head(), started(), *(chunk(b"data: " + json.dumps(piece).encode() + b"\n\n") for piece in pieces), END)

    done = caller()

    assert isinstance(done, Completion), done
    assert done.content[0]["input"] == {"a": "x\ufffd", "\ufffd": ["\U0001f600"]}
    json.dumps([done.blocks, done.usage], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("body", "text", "remedy"),
    [
        ({"error": "Your credit balance is too low"}, "credit balance", Remedy.PARK),
        ({"message": "Your credit balance is too low"}, "credit balance", Remedy.PARK),
        ({"detail": "no such deployment"}, "no such deployment", Remedy.FAIL),
        ({"error": {"message": "bad", "type": "x\ud83d", "details": {"error_code": "\0\ud83d"}}}, "bad", Remedy.FAIL),
        ("<html>no</html>", "", Remedy.FAIL),
    ],
)
def test_the_words_of_an_error_are_read_in_every_shape(
    fake: FakeClaude, caller: Caller, body: Any, text: str, remedy: Remedy
) -> None:
    """CASES F1, F8: a gateway's error is shown, and a limit of the account parks the queue in its shape, too."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    fake.then(head("400 Bad Request", kind="application/json"), chunk(data), END)

    failure = caller()

    assert isinstance(failure, Failure)
    assert (failure.remedy, text in failure.message, "<" in failure.message) == (remedy, True, False)
    (failure.message + str(failure.reason)).encode()


@pytest.mark.parametrize("usage", [{"input_tokens": 10, "output_tokens": 5}, NOTHING])
def test_an_answer_in_plain_json_is_a_success(fake: FakeClaude, caller: Caller, usage: Any) -> None:
    """CASES F8: a 200 with the whole message, though a stream was asked for."""
    message = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-5-5",
        "content": [{"type": "text", "text": "All of it"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    fake.then(head(kind="application/json; charset=utf-8"), chunk(json.dumps(message).encode()), END)

    done = caller()

    assert isinstance(done, Completion)
    assert (done.text, done.cost_usd is None) == ("All of it", usage is NOTHING)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"not json", b'{"choices": []}'])
def test_plain_json_that_is_no_message_is_a_failure(fake: FakeClaude, caller: Caller, body: bytes) -> None:
    """CASES F8."""
    fake.then(head(kind="application/json"), chunk(body), END)

    assert not isinstance(caller(), Completion)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [(("a\ud83d", "\ude00b"), "a\U0001f600b"), (("a\ud83d", "b"), "a\ufffdb"), (("\ude00", "\ud83d"), "\ufffd\ufffd")],
)
def test_the_halves_of_a_character_are_joined(
    fake: FakeClaude, caller: Caller, pieces: tuple[str, ...], text: str
) -> None:
    """CASES F23: an emoji may be cut into two events; a lone half is replaced."""
    deltas = [
        chunk(b"data: " + json.dumps({"type": "content_block_delta", "index": 0, "delta": delta}).encode() + b"\n\n")
        for delta in ({"type": "text_delta", "text": piece} for piece in pieces)
    ]
    block = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    fake.then(head(), started(), block, *deltas, *stopped())

    done = caller()

    assert isinstance(done, Completion) and done.text == text


def test_an_answer_that_is_too_long_fails_with_what_had_come(fake: FakeClaude) -> None:
    """CASES S18: and it is not called again, as that would cost the same."""
    caller = Caller(fake.url, replace(QUICK, max_answer=10_000))
    piece = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 1000})
    fake.then(head(), started(), *written("")[:1], Drip(piece, 0.0))

    failure = caller()
    caller.messages.close()

    assert isinstance(failure, Failure)
    assert (failure.type, failure.remedy) == (ErrorType.TOO_LARGE, Remedy.FAIL)
    assert 10_000 <= len(failure.partial) <= 12_000
    assert (failure.cost_usd or 0) > 0


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_a_compressed_bomb_takes_little_memory(fake: FakeClaude, status: str, kind: str) -> None:
    """CASES S18: an event of 300 MB that is 300 kB on the wire, as a stream, as JSON and as an error."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b"x" * 1_000_000) for _ in range(300)) + packer.flush()
    pieces = [chunk(bomb[at : at + 4096]) for at in range(0, len(bomb), 4096)]
    caller = Caller(fake.url, replace(QUICK, max_answer=1_000_000))
    caller.messages.open()
    fake.then(head(status, [("Content-Encoding", "gzip")], kind), *pieces, END)
    tracemalloc.start()
    try:
        failure = caller()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        caller.messages.close()

    assert isinstance(failure, Failure) and failure.remedy is Remedy.FAIL
    assert peak < 60_000_000


def test_a_result_that_is_too_long_is_its_items_own_failure() -> None:
    """CASES S18: the lines after it are read."""
    long = b'{"custom_id":"a-1","result":{"x":"' + b"x" * 5000 + b'"}}\n'
    other = b'{"custom_id":"b-1","result":{"type":"expired"}}\n'
    body = other + long + other + other
    for size in (1, 7, 1000, len(body)):
        chunks = iter([body[at : at + size] for at in range(0, len(body), size)])
        parsed = [parse_result(line) for line in split_lines(chunks, most=3000 if size < len(body) else 10_000)]
        kinds = [result and result[1].get("type") for result in parsed]
        assert kinds == ["expired", OVERSIZED if size < len(body) else None, "expired", "expired"]
