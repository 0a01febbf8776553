"""Assembly of the OpenAPI document from its tables."""

from __future__ import annotations

from typing import Any

from ... import __version__
from ..scopes import SCOPES
from . import collections, components, examples, operations
from .operation import FORM, JSON, MULTIPART, NDJSON, Operation
from .shapes import Schema, shape
from .submit_body import GROUP_SCHEMA, REQUEST_ID_SCHEMA

OPERATIONS = (*operations.OPERATIONS, *collections.OPERATIONS)
SCHEMAS = {**components.SCHEMAS, **collections.SCHEMAS}
EXAMPLES = {**examples.EXAMPLES, **collections.EXAMPLES}
#: Alternatives that an answer may have.
_ALTERNATIVES: dict[str, tuple[str, ...]] = {
    "Result": ("Completed", "Failed"),
    "StatusOrCancelled": ("Status", "CancelAccepted"),
}
_PATH_PARAMETERS: dict[str, Schema] = {
    "requestId": REQUEST_ID_SCHEMA,
    "collectionId": collections.COLLECTION_ID_SCHEMA,
    "group": GROUP_SCHEMA,
    "token": {"type": "string"},
}
_HEADERS: dict[str, tuple[Schema, str]] = {
    "Idempotency-Key": (REQUEST_ID_SCHEMA, "The same thing as requestId in the body."),
    "Prefer": (
        {"type": "string", "examples": ["wait=55"]},
        "`wait=N`, at most 55: wait up to N seconds for the end of the job.",
    ),
    "traceparent": ({"type": "string"}, "W3C trace context: stored with the job, sent with the call and the callback."),
    "Last-Event-ID": ({"type": "string"}, "The id of the last event that was read: the stream goes on after it."),
}
_REASONS = {
    400: "Invalid: `problems` names every field.",
    401: "No key.",
    403: "A wrong key, or one without the scope.",
    404: "Nothing by that name, or it belongs to another key.",
    409: "Not possible in its present state, or the requestId was used for another body.",
    413: "The body is too large.",
    415: "The content type is not accepted.",
    429: "Too many requests: see Retry-After.",
    500: "An internal error, with the id that the log has.",
    503: "Not now: see Retry-After.",
}
_WITH_RETRY_AFTER = (429, 503)
_SIGNED = {
    "webhook-id": "The same for every attempt: the key to drop repetitions.",
    "webhook-timestamp": "Seconds since 1970, of this attempt.",
    "webhook-signature": "Standard Webhooks: `v1,` and the HMAC-SHA256 in base64, over id, timestamp and body.",
}


def document(base: str | None = None) -> dict[str, Any]:
    """The document; `base` is the URL at which callers reach this relay."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "claude-relay",
            "version": __version__,
            "summary": "Takes a prompt for Claude, keeps it on disk, makes the call, and delivers the answer.",
            "description": "Send the key in X-API-Key, or as a Bearer token. Times are UTC with three decimals. "
            "Fields may be added to any answer; none changes its meaning. X-Request-Id is echoed.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base or "/"}],
        "security": [{"apiKey": []}, {"bearer": []}],
        "paths": paths,
        "webhooks": {
            "jobCompleted": {"post": _callback("jobCompleted", "A job has completed", "Completed")},
            "collectionEnded": {
                "post": _callback("collectionEnded", "Every row of a collection has ended", "CollectionEnded")
            },
            "jobFailed": {"post": _callback("jobFailed", "A job has failed or was cancelled", "Failed")},
        },
        "components": {
            "schemas": SCHEMAS,
            "responses": {str(status): _error(status) for status in _REASONS},
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    scopes = sorted(scope.value for scope in SCOPES[operation.method, operation.path])
    needs = f"Needs a key with the scope {' and '.join(scopes)}." if scopes else "Needs no key."
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": " ".join(part for part in (operation.text, needs) if part),
        "tags": [operation.tag],
        "responses": {str(status): _answer(operation, status) for status in operation.answers},
    }
    if not scopes:
        described["security"] = []
    errors = {*operation.errors, 429, 503} | {401, 403} if scopes else {*operation.errors, 503}
    if "{" in operation.path and scopes:
        errors |= {404} | ({409} if "{requestId}" in operation.path else set())
    for status in sorted(errors - set(operation.answers)):
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    if operation.path.startswith(("/api", "/ack")):
        described["responses"]["500"] = {"$ref": "#/components/responses/500"}
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.body:
        content = {media: _content(name, media) for media, name in operation.body.items()}
        described["requestBody"] = {"required": operation.body_required, "content": content}

    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PATH_PARAMETERS.items()
        if f"{{{name}}}" in operation.path
    ]
    headers = [
        {"name": name, "in": "header", "schema": _HEADERS[name][0], "description": _HEADERS[name][1]}
        for name in operation.headers
    ]

    return [*path, *(dict(parameter) for parameter in operation.query), *headers]


def _answer(operation: Operation, status: int) -> dict[str, Any]:
    content = operation.answers[status]
    if isinstance(content, str):
        described = {JSON: _content(content, JSON)}
    else:
        described = {media: {"schema": schema} for media, schema in content.items()}
    answer: dict[str, Any] = {"description": _description(operation, status), "content": described}
    if status == 202:
        names = ("Location", "Retry-After") if operation.id == "submit" else ("Retry-After",)
        answer["headers"] = {name: {"schema": {"type": "string"}} for name in names if operation.id != "retry"}

    return answer


def _description(operation: Operation, status: int) -> str:
    if status == 202:
        return "Accepted." if operation.id != "result" else "Not ended yet."

    return "Not ready." if status == 503 else operation.summary + "."


def _content(name: str, media: str) -> dict[str, Any]:
    """The schema of a component with its example; a list of it, where the name ends with `[]`."""
    if media == NDJSON:
        return {"schema": {"type": "string", "description": "One JSON object a line."}}
    if media == collections.CSV:
        return {"schema": {"type": "string", "description": "A line of column titles, and a line for each row."}}
    if name in _ALTERNATIVES:
        names = _ALTERNATIVES[name]
        return {"schema": {"anyOf": [shape(each) for each in names]}, "example": EXAMPLES[names[0]]}
    bare = name.removesuffix("[]")
    example = EXAMPLES[bare]
    if media in (FORM, MULTIPART):
        example = {key: value for key, value in example.items() if not isinstance(value, dict)}

    return {"schema": shape(name), "example": [example] if name.endswith("[]") else example}


def _error(status: int) -> dict[str, Any]:
    example = EXAMPLES["Error"]
    if status != 400:
        text = _REASONS[status]
        example = {**example, "error": text, "message": text, "status": status, "type": "error", "problems": []}
    content = {"schema": shape("Error"), "example": example}
    answer: dict[str, Any] = {
        "description": _REASONS[status],
        "content": {JSON: content, "application/problem+json": content},
    }
    if status in _WITH_RETRY_AFTER:
        answer["headers"] = {"Retry-After": {"schema": {"type": "string"}}}

    return answer


def _callback(name: str, summary: str, body: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary + ".",
        "description": "Sent to webhookUrl (a failure to failureWebhookUrl, if there is one) until it is answered by "
        "2xx, as RELAY_WEBHOOK_SCHEDULE says. With RELAY_CALLBACK=seed only the required fields are sent.",
        "security": [],
        "parameters": [
            {"name": header, "in": "header", "schema": {"type": "string"}, "description": text}
            for header, text in _SIGNED.items()
        ],
        "requestBody": {"required": True, "content": {JSON: _content(body, JSON)}},
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "Given up at once; the address is remembered."},
            "429": {"description": "Tried again, not sooner than Retry-After."},
            "5XX": {"description": "Tried again."},
        },
    }
