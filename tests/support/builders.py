"""Builders with usual values; a test names only the fields that it is about."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, Remedy
from claude_relay.core.jobs.submission import Submission

_number = itertools.count(1)


class QuietNotifier:
    """Records notifications."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, ...]] = []

    def notify(self, job_ids: Sequence[str] = ()) -> None:
        self.notified.append(tuple(job_ids))

    def close(self) -> None: ...


class Clock:
    """Wall-clock time that changes only on `advance`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def a_submission(request_id: str | None = None, **fields: Any) -> Submission:
    """A prompt with a webhook that no test calls."""
    request_id = request_id or f"r-{next(_number)}"
    defaults: dict[str, Any] = dict(
        request_id=request_id,
        body_hash=f"hash of {request_id}",
        request={"prompt": "Hei", "options": {"model": "claude-sonnet-5-5", "maxTokens": 100}},
        model="claude-sonnet-5-5",
        prompt_length=3,
        webhook_url="https://hook.example/x",
    )
    return Submission(**(defaults | fields))


def a_completion(text: str = "Svar", **fields: Any) -> Completion:
    """A completed call."""
    defaults: dict[str, Any] = dict(
        text=text,
        model="claude-sonnet-5-5",
        stop_reason="end_turn",
        usage={"input_tokens": 10, "output_tokens": 5},
        message_id="msg_1",
        cost_usd=0.001,
    )
    return Completion(**(defaults | fields))


def a_failure(kind: ErrorType = ErrorType.UPSTREAM, remedy: Remedy = Remedy.RETRY, **fields: Any) -> Failure:
    """A failed attempt."""
    return Failure(type=kind, message=f"it was {kind.value}", remedy=remedy, **fields)
