"""
The script of a response: its bytes and pauses, its ending, and the faults that replace it.

Pure, as the connection plays the script: a directive can be tested without a socket or a clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum

from claude_relay.sandbox.answers import Answer
from claude_relay.sandbox.directive_types import Fault, Kind
from claude_relay.sandbox.directives import MAX_LENGTH
from claude_relay.sandbox.messages import PING, Event, encode, events, is_text, message
from claude_relay.sandbox.problem import ApiError

PING_EVERY = 10.0


class StreamEnd(Enum):
    """The ending of a response."""

    COMPLETE = "finished"
    ERROR_EVENT = "error event"
    EARLY = "ended early"
    CUT = "cut"
    STALLED = "stalled"


@dataclass(frozen=True)
class Step:
    """A pause in seconds, then bytes to send."""

    pause: float
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ResponseScript:
    """A 200: its steps and its ending. `length` is set where the body is one JSON document."""

    steps: tuple[Step, ...]
    ending: StreamEnd = StreamEnd.COMPLETE
    length: int | None = None


def refusal(fault: Fault, now: float) -> ApiError | None:
    """The error response of a fault; None for a fault of the stream."""
    if fault.kind is Kind.ERROR:
        return ApiError(fault.status, f"the prompt asked for a {fault.status}.")
    if fault.kind is Kind.RATE_LIMIT:
        wait = 1.0 if fault.wait is None else fault.wait
        seconds = str(int(wait)) if wait == int(wait) else str(wait)
        return ApiError(
            429, "the prompt asked for a rate limit; see the retry-after header.", headers={"retry-after": seconds}
        )
    if fault.kind is Kind.ACCOUNT:
        words = f"{fault.words} {_next_month(now)} at 00:00 UTC." if fault.words.endswith(" on") else fault.words
        return ApiError(fault.status, words, code=fault.code, name_last=True)
    if fault.kind is Kind.SPEND_LIMIT:
        return ApiError(
            429,
            "the prompt asked for a spend limit: you have reached your API usage limits and will regain access on "
            f"{_next_month(now)} at 00:00 UTC.",
            code="enforced_spend_limit_reached",
        )
    return None


def streamed(answer: Answer, *, over: float, delay: float, fault: Fault | None, request_id: str) -> ResponseScript:
    """The script of a stream that takes `over` seconds, or `delay` per piece of text, and has this fault."""
    stream = events(answer)
    texts = sum(map(is_text, stream))
    pause = over / texts if over and texts else delay
    if fault is None:
        return ResponseScript(steps=tuple(_paced(stream, pause)))

    kept = _until(stream, 0 if fault.early else max(1, texts // 2))
    if fault.kind is Kind.STREAM_ERROR:
        error = ApiError(200, "the prompt asked for an error in the stream.", kind=fault.error)
        return ResponseScript(steps=tuple(_paced([*kept, error.body(request_id)], pause)), ending=StreamEnd.ERROR_EVENT)

    steps = tuple(_paced(kept, pause))
    if fault.kind is Kind.STALL:
        return ResponseScript(steps=(*steps, _stall(fault)), ending=StreamEnd.STALLED)
    return ResponseScript(steps=steps, ending=StreamEnd.EARLY if fault.kind is Kind.END_EARLY else StreamEnd.CUT)


def plain(answer: Answer, *, over: float, fault: Fault | None) -> ResponseScript:
    """The script of a response that is not streamed; a fault of the stream breaks its body in the middle."""
    body = json.dumps(message(answer), ensure_ascii=False).encode("utf-8", "replace")
    if fault is None:
        return ResponseScript(steps=(Step(over, body),), length=len(body))
    if fault.kind is Kind.STREAM_ERROR:
        raise ApiError(
            529 if fault.error == "overloaded_error" else 500, "the prompt asked for an error.", kind=fault.error
        )

    half = Step(over, body[: len(body) // 2])
    if fault.kind is Kind.STALL:
        return ResponseScript(steps=(half, _stall(fault)), ending=StreamEnd.STALLED, length=len(body))
    return ResponseScript(steps=(half,), ending=StreamEnd.CUT, length=len(body))


def _stall(fault: Fault) -> Step:
    return Step(MAX_LENGTH if fault.wait is None else fault.wait, b"")


def _until(stream: Sequence[Event], texts: int) -> list[Event]:
    """The events up to and including the first `texts` pieces of text, without the end of the answer."""
    kept: list[Event] = []
    for event in stream:
        if event["type"] in ("content_block_stop", "message_delta") or (is_text(event) and texts == 0):
            break
        texts -= is_text(event)
        kept.append(event)
    return kept


def _paced(stream: Sequence[Event], pause: float) -> Iterator[Step]:
    """Steps with a pause before each piece of text; a long pause is filled with pings, as upstream."""
    for event in stream:
        left = pause if is_text(event) else 0.0
        while left > PING_EVERY:
            yield Step(PING_EVERY, encode(PING))
            left -= PING_EVERY
        yield Step(left, encode(event))


def _next_month(now: float) -> str:
    first = datetime.fromtimestamp(now, timezone.utc).replace(day=1)
    return (first + timedelta(days=32)).replace(day=1).date().isoformat()
