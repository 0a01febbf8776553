"""The words on the wire: bodies of answers and callbacks, built from values. Key order is part of the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ..errors import Problem, RelayError
from .change import Call, Event
from .delivery import Delivery, DeliveryState
from .failure import Completion
from .job import Job, State

#: The seed's four words; scenarios compare them as text.
STATUS = {
    State.QUEUED: "pending",
    State.HELD: "pending",
    State.RUNNING: "processing",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}

#: The seed's keys: all that `RELAY_CALLBACK=seed` sends.
SEED_KEYS = frozenset(("requestId", "response", "error", "status", "timestamp", "usage", "model", "stopReason"))

_DELIVERY_WORDS = {
    DeliveryState.PENDING: "pending",
    DeliveryState.SENDING: "pending",
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.DEAD: "dead",
}


def timestamp(at: float) -> str:
    """UTC, exactly three decimals, `Z`: `2026-01-15T10:30:00.000Z`."""
    millis = int(at * 1000 + 0.5)
    moment = datetime.fromtimestamp(millis // 1000, tz=timezone.utc)

    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03d}Z"


def maybe_timestamp(at: float | None) -> str | None:
    """The same, where there is a time."""
    return None if at is None else timestamp(at)


def encode(body: Any) -> bytes:
    """JSON as it is sent and signed: UTF-8, letters as they are, keys in the order given."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def accepted(
    job: Job, *, now: float, warnings: Sequence[str], public_url: str | None, duplicate: bool = False
) -> dict[str, Any]:
    """The 202."""
    path = f"/api/status/{job.request_id}"
    body: dict[str, Any] = {
        "message": "Request accepted and processing",
        "requestId": job.request_id,
        "status": STATUS[job.state] if duplicate else "pending",
        "timestamp": timestamp(now),
        "statusUrl": f"{public_url.rstrip('/')}{path}" if public_url else path,
        "warnings": list(warnings),
    }
    if duplicate:
        body["duplicate"] = True

    return body


def success_body(
    job: Job, done: Completion, *, metadata: Any, warnings: Sequence[str], ack_url: str | None, now: float
) -> dict[str, Any]:
    """The callback of a completed run."""
    body: dict[str, Any] = {
        "requestId": job.request_id,
        "response": done.text,
        "status": "completed",
        "timestamp": timestamp(now),
        "usage": done.usage,
        "model": done.model,
        "stopReason": done.stop_reason,
        "json": done.json,
        "truncated": done.truncated,
        "costUsd": job.cost_usd,
        "mode": job.mode,
        "attempts": job.attempt,
        "metadata": metadata if metadata is not None else {},
        "warnings": [*warnings, *done.warnings],
        "ackUrl": ack_url,
    }
    if done.content:
        body["content"] = done.content

    return _marked(body, job)


def failure_body(
    job: Job, *, partial: str, metadata: Any, warnings: Sequence[str], ack_url: str | None, now: float
) -> dict[str, Any]:
    """The callback of a failed or cancelled run."""
    body = {
        "requestId": job.request_id,
        "error": job.error or "the job failed",
        "status": "failed",
        "timestamp": timestamp(now),
        "errorType": job.error_type or "internal",
        "attempts": job.attempt,
        "usage": job.usage,
        "costUsd": job.cost_usd,
        "partialResponse": partial,
        "mode": job.mode,
        "metadata": metadata if metadata is not None else {},
        "warnings": list(warnings),
        "ackUrl": ack_url,
    }
    return _marked(body, job)


def as_delivered(
    body: Mapping[str, Any], *, callback: str, limit: int, result_url: str | None
) -> dict[str, Any] | None:
    """
    The body as the webhook gets it, where that is not the whole one: the seed's keys alone, or cut to `limit` bytes.

    None where the whole body is sent as it is.
    """
    sent: Mapping[str, Any] = body
    if callback == "seed":
        sent = {key: value for key, value in body.items() if key in SEED_KEYS}
    if len(encode(sent)) > limit:
        sent = _cut(sent, limit=limit, result_url=result_url)

    return None if sent is body else dict(sent)


def status_body(
    job: Job,
    *,
    metadata: Any,
    waiting_for: str | None,
    position: int | None,
    delivery: Delivery | None,
    acked: float | None = None,
) -> dict[str, Any]:
    """Where a job stands: the seed's six keys first."""
    return {
        "requestId": job.request_id,
        "status": STATUS[job.state],
        "createdAt": timestamp(job.created_at),
        "updatedAt": timestamp(job.updated_at),
        "promptLength": job.prompt_length,
        "responseLength": job.response_length,
        "mode": job.mode,
        "group": job.group,
        "model": job.model,
        "attempts": job.attempt,
        "waitingFor": waiting_for,
        "position": position,
        "delivery": delivery_status(delivery),
        "acked": maybe_timestamp(acked),
        "errorType": job.error_type,
        "error": job.error,
        "usage": job.usage,
        "costUsd": job.cost_usd,
        "metadata": metadata if metadata is not None else {},
    }


def delivery_status(delivery: Delivery | None) -> dict[str, Any]:
    """How far the outcome is on its way."""
    if delivery is None:
        return {"status": "none", "attempts": 0, "lastStatusCode": None, "nextAttemptAt": None}

    due = delivery.due_at if delivery.state is DeliveryState.PENDING else None
    return {
        "status": _DELIVERY_WORDS[delivery.state],
        "attempts": delivery.attempts,
        "lastStatusCode": delivery.last_status,
        "nextAttemptAt": maybe_timestamp(due),
    }


def call_body(call: Call) -> dict[str, Any]:
    """One entry of the ledger."""
    return {
        "number": call.number,
        "run": call.run,
        "startedAt": timestamp(call.started_at),
        "firstByteAt": maybe_timestamp(call.first_byte_at),
        "endedAt": maybe_timestamp(call.ended_at),
        "sent": call.sent,
        "upstreamRequestId": call.upstream_request_id,
        "model": call.model,
        "outcome": call.outcome,
        "detail": call.detail,
        "responseLength": call.text_length,
        "usage": call.usage,
        "costUsd": call.cost_usd,
    }


def event_body(event: Event, *, request_id: str) -> dict[str, Any]:
    """One move."""
    subject = event.subject.partition(":")[0]  # job, or file:0; a delivery's is its id
    if subject not in ("job", "file"):
        subject = "delivery"

    return {
        "requestId": request_id,
        "at": timestamp(event.at),
        "subject": subject,
        "event": event.name,
        "version": event.version,
        **event.detail,
    }


def error_body(error: RelayError, *, problems: Sequence[Problem] = (), now: float) -> dict[str, Any]:
    """Every error, in one shape; `error` is always a string."""
    text = str(error)

    return {
        "error": text,
        "message": text,
        "status": error.status,
        "type": error.kind,
        "problems": [{"field": one.field, "problem": one.problem} for one in problems],
        "timestamp": timestamp(now),
    }


def _marked(body: dict[str, Any], job: Job) -> dict[str, Any]:
    if job.ambiguous:
        body["possibleDuplicateCharge"] = True

    return body


def _cut(body: Mapping[str, Any], *, limit: int, result_url: str | None) -> dict[str, Any]:
    """As much as fits: the long texts go, the rest says where they are."""
    kept = {key: value for key, value in body.items() if key not in ("json", "content")}
    kept["responseTruncated"] = True
    kept["resultUrl"] = result_url
    long = next((key for key in ("response", "partialResponse") if kept.get(key)), None)
    if long is None:
        return kept

    text, kept[long] = kept[long], ""
    room = max(0, limit - len(encode(kept)))
    # A character takes at most six bytes in JSON (an escaped control character), four in UTF-8.
    kept[long] = text[: room // 6]
    return kept
