"""JSON bodies of responses and callbacks, and the words of the API. Key order is part of the contract."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .deliveries.delivery import Delivery, DeliveryState
from .jobs.job import JOB_STATES, Job, State
from .text import json_bytes

if TYPE_CHECKING:
    from ..errors import Problem, RelayError
    from .batches import Batch
    from .deliveries.destination import Destination
    from .jobs.change import Call
    from .jobs.events import Event
    from .jobs.failure import Completion

#: The public status of each state; scenarios compare the four words as strings.
STATUS = {
    State.QUEUED: "pending",
    State.HELD: "pending",
    State.RUNNING: "processing",
    State.BATCHED: "processing",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
    State.COLLECTION: "pending",
}

#: The states behind each public status.
STATES = {
    word: tuple(state for state in JOB_STATES if STATUS[state] == word) for word in dict.fromkeys(STATUS.values())
}

#: The keys of a minimal callback (`RELAY_CALLBACK=seed`), by its status.
MINIMAL_KEYS = {
    "completed": ("requestId", "response", "status", "timestamp", "usage", "model", "stopReason"),
    "failed": ("requestId", "error", "status", "timestamp"),
}

#: Long texts that are cut where a callback is too large: each can be fetched.
_LONG = ("response", "partialResponse")

_DELIVERY_WORDS = {
    DeliveryState.PENDING: "pending",
    DeliveryState.SENDING: "pending",
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.DEAD: "dead",
}


def timestamp(at: float) -> str:
    """UTC, exactly three decimals, `Z`: `2026-01-15T10:30:00.000Z`."""
    second, millis = divmod(int(at * 1000 + 0.5), 1000)

    return f"{_second(second)}.{millis:03d}Z"


@functools.lru_cache(maxsize=256)
def _second(at: int) -> str:
    return f"{datetime.fromtimestamp(at, tz=timezone.utc):%Y-%m-%dT%H:%M:%S}"


def optional_timestamp(at: float | None) -> str | None:
    """A timestamp, or None."""
    return None if at is None else timestamp(at)


def encode(body: Any) -> bytes:
    """JSON as it is sent and signed: UTF-8 without escapes, keys in the order given."""
    return json_bytes.encode(body)


def accepted(
    request_id: str,
    *,
    now: float,
    warnings: Sequence[str],
    base: str | None,
    status: str = "pending",
    duplicate: bool = False,
    webhook_empty: bool = False,
) -> dict[str, Any]:
    """
    The body of a 202.

    `base` is the URL at which the caller reaches this relay; without it the URL is a path. `webhook_empty`: the message
    says where to get the result, as no warning is seen by those who map an empty field.
    """
    path, message = f"/api/status/{request_id}", "Request accepted and processing"
    if webhook_empty:
        result = f"{(base or '').rstrip('/')}/api/result/{request_id}"
        message += f"; webhookUrl is empty, so there is no webhook: ask for the result at {result}"
    body: dict[str, Any] = {
        "message": message,
        "requestId": request_id,
        "status": status,
        "timestamp": timestamp(now),
        "statusUrl": f"{(base or '').rstrip('/')}{path}",
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
        "mode": job.lane,
        "attempts": job.attempt,
        "metadata": metadata if metadata is not None else {},
        "warnings": list(dict.fromkeys((*warnings, *done.warnings))),
        "ackUrl": ack_url,
    }
    if job.mode != "live":
        body["savedUsd"] = done.saved_usd if job.lane == "batch" else 0.0
    if done.content:
        body["content"] = done.content

    return _with_job_marks(body, job)


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
        "metadata": metadata if metadata is not None else {},
        "mode": job.lane,
        "warnings": list(warnings),
        "ackUrl": ack_url,
    }
    if job.mode != "live":
        # A batch costs half: a live call would have cost as much more as was paid. Nothing where nothing was called.
        body["savedUsd"] = (job.cost_usd if job.calls else 0.0) if job.lane == "batch" else 0.0
    return _with_job_marks(body, job)


def webhook_body(
    body: Mapping[str, Any], *, size: int, callback: str, limit: int, result_url: str | None
) -> dict[str, Any] | None:
    """
    The body that the webhook gets, where it is not the complete one.

    The minimal keys, or cut to `limit` bytes. `size`: bytes of the complete one.

    None where the complete body is sent.
    """
    sent: Mapping[str, Any] = body
    if callback == "seed":
        sent = {key: body[key] for key in MINIMAL_KEYS[body["status"]] if key in body}
        size = len(encode(sent))
    if size > limit:
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
    destination: Destination | None = None,
    destination_paused: bool = False,
) -> dict[str, Any]:
    """The status of a job; the first six keys are those of every version."""
    body = {
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
        "delivery": delivery_status(delivery, destination, paused=destination_paused),
        "acked": optional_timestamp(acked),
        "errorType": job.error_type,
        "error": job.error,
        "usage": job.usage,
        "costUsd": job.cost_usd,
        "metadata": metadata if metadata is not None else {},
    }
    return body | checks_fields(job)


def checks_fields(job: Job) -> dict[str, Any]:
    """The results of `options.checks` and the number of rules that failed; empty for a job without checks."""
    if job.checks is None:
        return {}

    return {"checks": list(job.checks), "checksFailed": sum(check["ok"] is False for check in job.checks)}


def delivery_status(
    delivery: Delivery | None, destination: Destination | None = None, *, paused: bool = False
) -> dict[str, Any]:
    """The status of a delivery; `destination`: the health of its receiver, where that is failing or `paused`."""
    if delivery is None:
        return {"status": "none", "attempts": 0, "lastStatusCode": None, "nextAttemptAt": None}

    body = {
        "status": _DELIVERY_WORDS[delivery.state],
        "attempts": delivery.attempts,
        "lastStatusCode": delivery.last_status,
        "nextAttemptAt": None,
    }
    if delivery.state is DeliveryState.PENDING and paused:
        body["waitingFor"] = f"{delivery.destination}: paused"
    elif delivery.state is DeliveryState.PENDING:
        due_at = delivery.due_at
        if destination is not None and (destination.slowed or destination.recovering):
            due_at = max(due_at, destination.not_before)
            body["waitingFor"] = destination_text(destination)
        body["nextAttemptAt"] = timestamp(due_at)

    return body


def destination_text(destination: Destination) -> str:
    """The reason why deliveries to a destination wait."""
    if destination.slowed and destination.failing_since is not None:
        return f"{destination.name}: failing since {timestamp(destination.failing_since)} ({destination.last_error})"

    return f"{destination.name}: it answers again, and its backlog follows at a bounded pace"


def destination_body(destination: Destination, *, waiting: int) -> dict[str, Any]:
    """A destination that is slowed down, or is recovering."""
    return {
        "destination": destination.name,
        "state": "slowed" if destination.slowed else "recovering",
        "since": optional_timestamp(destination.failing_since),
        "failures": destination.failures,
        "lastError": destination.last_error,
        "nextAttemptAt": timestamp(destination.not_before),
        "waiting": waiting,
    }


def call_body(call: Call) -> dict[str, Any]:
    """An entry of the ledger."""
    return {
        "number": call.number,
        "run": call.run,
        "startedAt": timestamp(call.started_at),
        "firstByteAt": optional_timestamp(call.first_byte_at),
        "endedAt": optional_timestamp(call.ended_at),
        "sent": call.sent,
        "upstreamRequestId": call.upstream_request_id,
        "model": call.model,
        "mode": call.mode,
        "outcome": call.outcome,
        "detail": call.detail,
        "responseLength": call.text_length,
        "usage": call.usage,
        "costUsd": call.cost_usd,
    }


def batch_body(batch: Batch) -> dict[str, Any]:
    """The batch that a job is in."""
    return {
        "upstreamId": batch.upstream_id,
        "state": batch.state.value,
        "jobs": batch.count,
        "sentAt": optional_timestamp(batch.sent_at),
        "expiresAt": optional_timestamp(batch.expires_at),
        "givenUpAt": optional_timestamp(batch.give_up_at),
        "nextLookAt": timestamp(batch.next_at),
        "note": batch.detail,
    }


def event_body(event: Event, *, request_id: str) -> dict[str, Any]:
    """An event of the timeline."""
    subject = event.subject.partition(":")[0]  # job, or file:0; a delivery's is its id
    if subject not in ("job", "file"):
        subject = "delivery"

    return {
        "requestId": request_id,
        "at": timestamp(event.at),
        "subject": subject,
        "event": event.name.value,
        "version": event.version,
        **event.detail,
    }


def error_body(error: RelayError, *, problems: Sequence[Problem] = (), now: float) -> dict[str, Any]:
    """The body of every error; `error` is always a string."""
    text = str(error)

    return {
        "error": text,
        "message": text,
        "status": error.status,
        "type": error.kind,
        "problems": [{"field": item.field, "problem": item.problem} for item in problems],
        "timestamp": timestamp(now),
    }


def _with_job_marks(body: dict[str, Any], job: Job) -> dict[str, Any]:
    body |= checks_fields(job)
    if job.template is not None:
        body["template"] = job.template
    if job.ambiguous:
        body["possibleDuplicateCharge"] = True

    return body


def _cut(body: Mapping[str, Any], *, limit: int, result_url: str | None) -> dict[str, Any]:
    """
    The body cut to `limit` bytes: the rest can be fetched.

    Structures are left out as a whole and the long text is cut, as half a JSON value is useless and half a text may not
    be. The keys that a scenario routes on are kept longest.
    """
    shortened = {key: value for key, value in body.items() if key not in ("json", "content")}
    shortened["responseTruncated"] = True
    shortened["resultUrl"] = result_url
    for key in _LONG:
        if text := shortened.get(key):
            shortened[key] = ""
            shortened[key] = _cut_text(text, limit - len(encode(shortened)))
    for key in ("warnings", "metadata"):
        if len(encode(shortened)) > limit:
            shortened.pop(key, None)
    if len(encode(shortened)) > limit and shortened.get("error"):
        text, shortened["error"] = shortened["error"], ""
        shortened["error"] = _cut_text(text, limit - len(encode(shortened)))

    return shortened


def _cut_text(text: str, size: int) -> str:
    """The beginning of `text` that takes at most `size` bytes in JSON, cut between characters and escapes."""
    size = max(0, size)
    raw = encode(text[: size + 1])[1:-1]  # a character takes at least one byte
    if len(raw) <= size:
        return text
    cut = raw[:size].decode("utf-8", "ignore")
    # An odd number of backslashes at the end, or \\u with less than four digits, is half an escape.
    cut = re.sub(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-f]{0,3})?$", r"\1", cut)

    return str(json.loads(f'"{cut}"'))
