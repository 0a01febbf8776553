"""
The score of one answer: which bytes go out after which pauses, how it ends, and what went wrong instead of it.

Pure: the server plays it. So what an order means can be tested without a socket or a clock.
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
    """How the connection is left."""

    WHOLE = "finished"
    ERROR_EVENT = "error event"
    EARLY = "ended early"
    CUT = "cut"
    STALLED = "stalled"


@dataclass(frozen=True)
class Step:
    """Wait, then send."""

    after: float
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ResponseScript:
    """A 200: its steps, and its ending. `length` is set where the body is one JSON text."""

    steps: tuple[Step, ...]
    ending: StreamEnd = StreamEnd.WHOLE
    length: int | None = None


def refusal(trouble: Fault, now: float) -> ApiError | None:
    """The error that stands in place of an answer, if the trouble is one of those."""
    if trouble.kind is Kind.ERROR:
        return ApiError(trouble.status, f"the prompt asked for a {trouble.status}.")
    if trouble.kind is Kind.RATE_LIMIT:
        wait = 1.0 if trouble.wait is None else trouble.wait
        seconds = str(int(wait)) if wait == int(wait) else str(wait)
        return ApiError(
            429, "the prompt asked for a rate limit; see the retry-after header.", headers={"retry-after": seconds}
        )
    if trouble.kind is Kind.SPEND_LIMIT:
        return ApiError(
            429,
            "the prompt asked for a spend limit: you have reached your API usage limits and will regain access on "
            f"{_next_month(now)} at 00:00 UTC.",
            code="enforced_spend_limit_reached",
        )
    return None


def streamed(answer: Answer, *, over: float, delay: float, trouble: Fault | None, request_id: str) -> ResponseScript:
    """The score of a stream that takes `over` seconds, or `delay` a piece of text, and meets this trouble."""
    whole = events(answer)
    texts = sum(map(is_text, whole))
    pause = over / texts if over and texts else delay
    if trouble is None:
        return ResponseScript(steps=tuple(_paced(whole, pause)))

    kept = _until(whole, 0 if trouble.early else max(1, texts // 2))
    if trouble.kind is Kind.STREAM_ERROR:
        error = ApiError(200, "the prompt asked for an error in the stream.", kind=trouble.error)
        return ResponseScript(steps=tuple(_paced([*kept, error.body(request_id)], pause)), ending=StreamEnd.ERROR_EVENT)

    steps = tuple(_paced(kept, pause))
    if trouble.kind is Kind.STALL:
        return ResponseScript(steps=(*steps, _stall(trouble)), ending=StreamEnd.STALLED)
    return ResponseScript(steps=steps, ending=StreamEnd.EARLY if trouble.kind is Kind.END_EARLY else StreamEnd.CUT)


def plain(answer: Answer, *, over: float, trouble: Fault | None) -> ResponseScript:
    """The score of a response that is not streamed; a trouble in mid-stream breaks its body in the middle."""
    body = json.dumps(message(answer), ensure_ascii=False).encode("utf-8", "replace")
    if trouble is None:
        return ResponseScript(steps=(Step(over, body),), length=len(body))
    if trouble.kind is Kind.STREAM_ERROR:
        raise ApiError(
            529 if trouble.error == "overloaded_error" else 500, "the prompt asked for an error.", kind=trouble.error
        )

    half = Step(over, body[: len(body) // 2])
    if trouble.kind is Kind.STALL:
        return ResponseScript(steps=(half, _stall(trouble)), ending=StreamEnd.STALLED, length=len(body))
    return ResponseScript(steps=(half,), ending=StreamEnd.CUT, length=len(body))


def _stall(trouble: Fault) -> Step:
    return Step(MAX_LENGTH if trouble.wait is None else trouble.wait, b"")


def _until(whole: Sequence[Event], texts: int) -> list[Event]:
    """The events before the text piece after the first `texts` of them, and never the end of the answer."""
    kept: list[Event] = []
    for event in whole:
        if event["type"] in ("content_block_stop", "message_delta") or (is_text(event) and texts == 0):
            break
        texts -= is_text(event)
        kept.append(event)
    return kept


def _paced(whole: Sequence[Event], pause: float) -> Iterator[Step]:
    """The pause stands before each piece of text; a long one is filled with pings, as upstream fills it."""
    for event in whole:
        left = pause if is_text(event) else 0.0
        while left > PING_EVERY:
            yield Step(PING_EVERY, encode(PING))
            left -= PING_EVERY
        yield Step(left, encode(event))


def _next_month(now: float) -> str:
    first = datetime.fromtimestamp(now, timezone.utc).replace(day=1)
    return (first + timedelta(days=32)).replace(day=1).date().isoformat()
