"""Spans of a call: the wait for it, and the call itself, with the attribute names of Anthropic's SDK."""

from __future__ import annotations

from typing import Any

from ..core.batches import Batch
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
    _trace_wait_until(tracer, claimed, claimed.call.started_at)


def _trace_wait_until(tracer: Tracer, claimed: ClaimedJob, ended: float) -> None:
    job = claimed.job
    began = min(ended, max(job.run_started_at, job.due_at))
    span = tracer.start(
        "claude_relay.wait",
        parent=claimed.request.traceparent,
        kind="internal",
        at=began,
        attributes={**_job(claimed), "claude_relay.group": job.group},
    )
    span.end(at=ended)


def trace_batched_call(
    tracer: Tracer, claimed: ClaimedJob, end: Completion | Failure, batch: Batch, *, now: float
) -> None:
    """
    Record the wait and the call of a batch's item, once its result is stored.

    The call lasts from when its batch was sent until the end of that was seen: upstream says no more of an item.
    """
    sent_at = batch.sent_at or claimed.call.started_at
    _trace_wait_until(tracer, claimed, sent_at)
    span = start_call(tracer, claimed, at=sent_at, stream=False)
    span.set({"claude_relay.batch.id": batch.upstream_id})
    end_call(span, claimed, end, at=max(sent_at, batch.ended_at or now))


def start_call(tracer: Tracer, claimed: ClaimedJob, *, at: float | None = None, stream: bool = True) -> Span:
    """Begin the span of the call, at that time or now."""
    options = claimed.request.request.get("options") or {}

    return tracer.start(
        "anthropic.messages.create",
        parent=claimed.request.traceparent,
        kind="client",
        at=at,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": claimed.job.model,
            "gen_ai.request.max_tokens": options.get("maxTokens"),
            "gen_ai.request.stream": stream,
            "gen_ai.conversation.id": claimed.job.request_id,
            **_job(claimed),
        },
    )


def end_call(span: Span, claimed: ClaimedJob, end: Completion | Failure, *, at: float | None = None) -> None:
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
        span.end(at=at)
    else:
        span.end(error=end.type.value, at=at)


def _job(claimed: ClaimedJob) -> dict[str, Any]:
    return {"claude_relay.request_id": claimed.job.request_id, "claude_relay.attempt": claimed.job.attempt}
