"""Spans of a call: the wait for it, and the call itself, with the attribute names of Anthropic's SDK."""

from __future__ import annotations

from typing import Any

from ..core.jobs.failure import Completion, Failure
from ..ports import Span, Tracer
from ..services import ClaimedJob

_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read.input_tokens",
    "cache_creation_input_tokens": "cache_write.input_tokens",
}


def trace_wait(tracer: Tracer, claimed: ClaimedJob) -> None:
    """Record the time from when the job could run until it was claimed."""
    job, ended = claimed.job, claimed.call.started_at
    began = min(ended, max(job.run_started_at, job.due_at))
    span = tracer.start(
        "claude_relay.wait",
        parent=claimed.request.traceparent,
        kind="internal",
        at=began,
        attributes={**_job(claimed), "claude_relay.group": job.group},
    )
    span.end(at=ended)


def start_call(tracer: Tracer, claimed: ClaimedJob) -> Span:
    """Begin the span of the call."""
    options = claimed.request.request.get("options") or {}

    return tracer.start(
        "anthropic.messages.create",
        parent=claimed.request.traceparent,
        kind="client",
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": claimed.job.model,
            "gen_ai.request.max_tokens": options.get("maxTokens"),
            "gen_ai.request.stream": True,
            "gen_ai.conversation.id": claimed.job.request_id,
            **_job(claimed),
        },
    )


def end_call(span: Span, claimed: ClaimedJob, end: Completion | Failure) -> None:
    """End the span of the call with its outcome: counts and ids, never a text."""
    usage, first = end.usage or {}, end.first_byte_at
    span.set(
        {
            "gen_ai.response.model": end.model,
            "gen_ai.response.time_to_first_chunk": None if first is None else max(0.0, first - claimed.call.started_at),
            "anthropic.request.id": end.upstream_request_id,
            **{f"gen_ai.usage.{name}": usage.get(key) for key, name in _USAGE.items()},
        }
    )
    if isinstance(end, Completion):
        span.set({"gen_ai.response.id": end.message_id, "anthropic.message.stop_reason": end.stop_reason})
        span.end()
    else:
        span.end(error=end.type.value)


def _job(claimed: ClaimedJob) -> dict[str, Any]:
    return {"claude_relay.request_id": claimed.job.request_id, "claude_relay.attempt": claimed.job.attempt}
