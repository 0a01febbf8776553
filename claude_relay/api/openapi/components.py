"""The schemas of what the relay answers and sends."""

from __future__ import annotations

from typing import Any

from ...core import wire
from ...core.deliveries.delivery import DeliveryState
from ...core.jobs.events import EventName
from ...core.jobs.failure import ErrorType
from ...core.jobs.job import JOB_STATES
from ...core.money.spend import GROUPINGS
from .shapes import Schema, fields, one_of, shape
from .submit_body import GROUP_SCHEMA, REQUEST_ID_SCHEMA
from .submit_body import SCHEMAS as SUBMIT_SCHEMAS

_STATUS_WORD = one_of(tuple(wire.STATES))
_ERROR_TYPE = one_of([kind.value for kind in ErrorType])
_USAGE: Schema = {"type": ["object", "null"], "additionalProperties": {"type": "integer"}}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_STRINGS: Schema = {"type": "array", "items": {"type": "string"}}
_SUMS = {
    **dict.fromkeys(("calls", "inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens"), _COUNT),
    "costUsd": "number?",
    "unpricedCalls": (_COUNT, "Calls of unknown cost."),
}
_CHECKS: dict[str, Any] = {
    "checks": ("CheckResult[]", "Where the job has options.checks."),
    "checksFailed": (_COUNT, "The number of rules that are false."),
}
_CUT = {
    "responseTruncated": ("boolean", "The body was over RELAY_CALLBACK_MAX: the rest is at resultUrl."),
    "resultUrl": "string?",
    "template": ("string", "The version of the template that the body was made of."),
    **_CHECKS,
    "possibleDuplicateCharge": ("boolean", "An earlier try was sent and its end not seen: it may be paid twice."),
}

#: The details of events; each kind has its own.
_EVENT_DETAILS: dict[str, Any] = {
    "attempt": "integer",
    "run": "integer",
    "worker": "string",
    "status": ("string?", "Of a collection, or of a job in a list of moves."),
    "outputTokens": "integer?",
    "stopReason": "string?",
    "errorType": "string",
    "error": "string?",
    "reason": "string?",
    "dueAt": "number?",
    "why": "string?",
    "outcome": "string?",
    "warning": "string",
    "statusCode": "integer?",
    "ms": "integer?",
    "from": ("string", "The model before a fallback."),
    "to": ("string", "The model after it."),
    "paid": "boolean",
    "call": "integer",
    "costUsd": "number?",
    "collectionId": "string",
    "completed": "integer",
    "failed": "integer",
    "cursor": ("integer", "Of a list of moves: its place."),
}

_STATUS = {
    "requestId": REQUEST_ID_SCHEMA,
    "status": _STATUS_WORD,
    "createdAt": "time",
    "updatedAt": "time",
    "promptLength": _COUNT,
    "responseLength": _COUNT,
    "mode": "string",
    "group": GROUP_SCHEMA,
    "model": "string",
    "attempts": _COUNT,
    "waitingFor": ("string?", "Why it is not running."),
    "position": "integer?",
    "delivery": "DeliveryStatus",
    "acked": "time?",
    "errorType": {"anyOf": [_ERROR_TYPE, {"type": "null"}]},
    "error": "string?",
    "usage": _USAGE,
    "costUsd": "number?",
    "metadata": "object",
}

SCHEMAS: dict[str, Schema] = {
    **SUBMIT_SCHEMAS,
    "Accepted": fields(
        {
            "message": "string",
            "requestId": REQUEST_ID_SCHEMA,
            "status": _STATUS_WORD,
            "timestamp": "time",
            "statusUrl": ({"type": "string", "format": "uri-reference"}, "Where to ask for the status."),
            "warnings": _STRINGS,
        },
        {"duplicate": ("boolean", "The same request had been accepted before; nothing runs twice.")},
        "The job is on disk.",
    ),
    "Verdict": fields(
        {"index": _COUNT, "statusCode": ("integer", "The HTTP status that the item would get alone.")},
        {
            "requestId": REQUEST_ID_SCHEMA,
            "message": "string",
            "status": ({"type": ["string", "integer"]}, "That of the job; of an error the HTTP status."),
            "timestamp": "time",
            "statusUrl": {"type": "string", "format": "uri-reference"},
            "duplicate": "boolean",
            "error": "string",
            "type": "string",
            "problems": "Problem[]",
            "warnings": _STRINGS,
        },
        "One item of a bulk request: the fields of its answer, or of its error.",
    ),
    "Estimate": fields(
        {
            "basis": {"const": "estimate"},
            "model": "string",
            "mode": "string",
            "inputTokens": _COUNT,
            "inputTokensRange": fields({"low": _COUNT, "high": _COUNT}),
            "maxOutputTokens": _COUNT,
            "costUsd": {"anyOf": [fields({"low": "number", "high": "number?"}), {"type": "null"}]},
            "maxCostUsd": "number?",
            "prices": ({"type": ["object", "null"]}, "Dollars per million tokens, and their date."),
            "warnings": _STRINGS,
        }
    ),
    "DeliveryStatus": fields(
        {
            "status": one_of(("none", "pending", "delivered", "dead")),
            "attempts": _COUNT,
            "lastStatusCode": "integer?",
            "nextAttemptAt": "time?",
        },
        {"waitingFor": ("string", "Why everything for that destination waits.")},
    ),
    "Status": fields(_STATUS, _CHECKS),
    "Record": fields(
        {
            **_STATUS,
            "owner": "string",
            "run": _COUNT,
            "possibleDuplicateCharge": "boolean",
            "unacked": "boolean",
            "batch": "object?",
            "partialResponse": "string?",
            "webhookUrl": "string?",
            "failureWebhookUrl": "string?",
            "request": "object?",
            "warnings": _STRINGS,
            "calls": "Call[]",
            "deliveries": "DeliveryAttempt[]",
            "events": "Event[]",
        },
        {"template": ("string?", "The version of the template that it was made of."), **_CHECKS},
    ),
    "Call": fields(
        {
            "number": _COUNT,
            "run": _COUNT,
            "startedAt": "time",
            "firstByteAt": "time?",
            "endedAt": "time?",
            "sent": "boolean",
            "upstreamRequestId": "string?",
            "model": "string",
            "mode": "string",
            "outcome": "string?",
            "detail": "string?",
            "responseLength": _COUNT,
            "usage": _USAGE,
            "costUsd": "number?",
        },
        text="One entry of the ledger: a try at the call, written before its first byte is sent.",
    ),
    "DeliveryAttempt": fields(
        {
            "at": "time",
            "url": "string",
            "statusCode": "integer?",
            "ms": _COUNT,
            "reply": "string",
            "nextAttemptAt": "time?",
        }
    ),
    "Event": fields(
        {
            "requestId": REQUEST_ID_SCHEMA,
            "at": "time",
            "subject": one_of(("job", "delivery", "file")),
            "event": one_of([name.value for name in EventName]),
            "version": ("integer", "The subject's version: one more with each event."),
        },
        _EVENT_DETAILS,
        "One move of a job, its files or its delivery, with its details.",
    ),
    "Completed": fields(
        {
            "requestId": REQUEST_ID_SCHEMA,
            "response": ("string", "The answer."),
            "status": {"const": "completed"},
            "timestamp": "time",
            "usage": _USAGE,
            "model": "string",
            "stopReason": "string?",
        },
        {
            "json": ({}, "The parsed answer of a job with outputSchema."),
            "truncated": ("boolean", "The answer reached its token limit."),
            "costUsd": "number?",
            "mode": "string",
            "attempts": _COUNT,
            "metadata": "object",
            "warnings": _STRINGS,
            "ackUrl": ({"type": ["string", "null"], "format": "uri"}, "To call once the result is applied."),
            "savedUsd": "number?",
            "content": ({"type": "array"}, "The blocks of the answer, where it is more than text."),
            **_CUT,
        },
    ),
    "Failed": fields(
        {"requestId": REQUEST_ID_SCHEMA, "error": "string", "status": {"const": "failed"}, "timestamp": "time"},
        {
            "errorType": _ERROR_TYPE,
            "attempts": _COUNT,
            "usage": _USAGE,
            "costUsd": "number?",
            "partialResponse": "string",
            "metadata": "object",
            "mode": "string",
            "warnings": _STRINGS,
            "ackUrl": {"type": ["string", "null"], "format": "uri"},
            **_CUT,
        },
    ),
    "Jobs": fields({"jobs": "Status[]", "cursor": ("string?", "Of the next page; null on the last one.")}),
    "Group": fields(
        {
            "group": GROUP_SCHEMA,
            "concurrency": ("integer?", "The most jobs that run at once; null: no limit."),
            "rate": ("number?", "The most starts a minute; null: no limit."),
            "paused": "boolean",
            "running": _COUNT,
        }
    ),
    "GroupLimits": fields(
        {},
        {
            "concurrency": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1},
            "rate": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
    ),
    "Cost": fields(
        {
            "by": one_of(GROUPINGS),
            "since": "string?",
            "until": "string?",
            "basis": one_of(("sums", "jobs")),
            "rows": (
                {"type": "array", "items": fields(_SUMS, dict.fromkeys(GROUPINGS, "string?"))},
                "Each has the name that `by` asks for.",
            ),
            "total": fields(_SUMS),
        }
    ),
    "Overview": fields(
        {
            "timestamp": "time",
            "jobs": fields({state.value: _COUNT for state in JOB_STATES}),
            "oldestWaitingSeconds": "number?",
            "paused": _STRINGS,
            "groups": "Group[]",
            "holds": ({"type": "array", "items": {"type": "object"}}, "Blocked parts of the queue, and why."),
            "workers": {"type": "array", "items": {"type": "object"}},
            "deliveries": fields({state.value: _COUNT for state in DeliveryState}),
            "drain": "object?",
            "unacked": _COUNT,
            "batches": "object",
            "destinations": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "Moves": fields(
        {
            "moves": "Event[]",
            "cursor": ("integer", "To go on from."),
            "after": ("string", "The same place as the id of an event, for a stream."),
        }
    ),
    "Acked": fields({"status": {"const": "acked"}, "requestId": REQUEST_ID_SCHEMA, "acked": "time"}),
    "CancelAccepted": fields(
        {"requestId": REQUEST_ID_SCHEMA, "message": "string"}, text="For a key without the scope read."
    ),
    "Health": fields(
        {"status": {"const": "healthy"}, "timestamp": "time", "uptime": "number", "environment": "string"}
    ),
    "Readiness": fields({"status": one_of(("ready", "unready")), "timestamp": "time", "reasons": _STRINGS}),
    "Problem": fields({"field": "string", "problem": "string"}),
    "Error": fields(
        {
            "error": "string",
            "message": "string",
            "status": "integer",
            "type": "string",
            "problems": ("Problem[]", "Every problem of the request, by field."),
            "timestamp": "time",
        },
        {"errorId": ("string", "Of an internal error: look for it in the log.")},
        "Every error has this shape; application/problem+json where the request accepts it.",
    ),
    "Drain": fields({}, {"runWaiting": ("boolean", "Run the jobs that wait, too.")}),
    "NewTemplate": fields(
        {"body": ("object", "The body of a submit, with {{placeholders}} in its strings.")},
        {"description": "string", "shared": ("boolean", "Every key may use it; for the admin key.")},
    ),
    "SavedTemplate": fields({"name": "string", "version": _COUNT, "placeholders": _STRINGS}),
    "Template": fields(
        {
            "name": "string",
            "version": _COUNT,
            "placeholders": _STRINGS,
            "description": "string?",
            "shared": "boolean",
            "owner": "string",
            "createdAt": "time",
        },
        {"body": "object", "deleted": "boolean"},
    ),
    "Templates": fields({"templates": "Template[]"}),
    "CheckResult": fields(
        {"name": "string", "rule": "string", "ok": "boolean?"},
        dict.fromkeys(("left", "right", "difference"), "string?"),
        "One rule of options.checks; null is unknown.",
    ),
    "RetryOptions": fields({}, {"options": shape("Options", "Replace the stored options of that name.")}),
    "RedeliverTo": fields({}, {"url": ("uri", "Another URL to deliver to, this time.")}),
    "RedeliverMany": fields(
        {},
        {"requestIds": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000}, "url": "uri"},
        "requestIds, or filters as in the list of jobs.",
    ),
}
