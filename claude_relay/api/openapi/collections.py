"""Collections in the document: their operations, schemas and examples."""

from __future__ import annotations

from typing import Any

from ...core.collections.collection import COLLECTION_ID, MAX_ROWS
from ...core.collections.intake import FIELDS
from ...core.jobs.job import Retain
from .operation import CURSOR, EVENTS, JSON, MULTIPART, NDJSON, TEXT, Operation, query
from .shapes import Schema, fields, one_of
from .submit_body import GROUP_SCHEMA

CSV = "text/csv"
COLLECTION_ID_SCHEMA: Schema = {"type": "string", "pattern": f"^{COLLECTION_ID.pattern}$"}
_TAG = "Collections"
_PATH = "/api/collections/{collectionId}"
_COUNT: Schema = {"type": "integer", "minimum": 0}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}, "maxItems": MAX_ROWS}
_STATUS = one_of(("open", "pending", "processing", "completed", "partial", "failed"))
_OWNER = query("owner", "string", "For the admin key: the owner of the collection.")
_LIMIT = query("limit", "integer", "Collections of one page.")
_AT = "2026-01-15T10:30:00.000Z"

SCHEMAS: dict[str, Schema] = {
    "NewCollection": fields(
        {},
        {
            "collectionId": COLLECTION_ID_SCHEMA,
            "rows": (_OBJECTS, "The variables of each row's job."),
            "template": ({"type": ["string", "object"]}, "A name, name@n, or a submit body with placeholders."),
            "jobs": (_OBJECTS, "Submit bodies, instead of rows and template."),
            "open": ("boolean", "More rows follow."),
            "webhookUrl": ("uri", "Where the one callback is delivered."),
            "webhookHeaders": "object",
            "metadata": "object",
            "mode": one_of(("live", "batch", "auto")),
            "needBy": "string",
            "group": GROUP_SCHEMA,
            "priority": "number",
            "deadline": "string",
            "retain": one_of([value.value for value in Retain]),
            "each": ("boolean", "A callback for each row, too."),
            "maxCostUsd": ("number", "Of the whole."),
            "onInvalid": one_of(("refuse", "fail")),
        },
        "Rows and their template, or jobs. mode to retain are the defaults of every row.",
    ),
    "MoreRows": fields({}, {"rows": _OBJECTS, "jobs": _OBJECTS}),
    "AcceptedCollection": fields(
        {
            "message": "string",
            "collectionId": COLLECTION_ID_SCHEMA,
            "status": _STATUS,
            "total": _COUNT,
            "statusUrl": "string",
            "timestamp": "time",
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
        {"duplicate": "boolean"},
        "All rows are on disk.",
    ),
    "Collection": fields(
        {
            "collectionId": COLLECTION_ID_SCHEMA,
            "status": _STATUS,
            "generation": _COUNT,
            **dict.fromkeys(("total", "pending", "processing", "completed", "failed"), _COUNT),
            "createdAt": "time",
            "finishedAt": "time?",
            "costUsd": "number?",
            "savedUsd": "number?",
            "checksFailed": ("integer?", "Rows with a check that is false; null before the end, and without checks."),
            "delivery": "DeliveryStatus",
            "acked": "time?",
            "metadata": "object",
            "group": GROUP_SCHEMA,
            "template": "string?",
            "maxCostUsd": "number?",
            "cancelRequestedAt": "time?",
            "owner": "string",
        },
        {"waitingFor": ("string?", "Of one collection: why none of its rows runs, where some wait.")},
    ),
    "CollectionOrMessage": {
        "anyOf": [
            {"$ref": "#/components/schemas/Collection"},
            fields(
                {"collectionId": COLLECTION_ID_SCHEMA, "message": "string"}, text="For a key without the scope read."
            ),
        ]
    },
    "Collections": fields({"collections": "Collection[]", "cursor": "string?"}),
    "RowResult": fields(
        {"row": _COUNT, "requestId": "string", "status": "string"},
        text="Besides these the fields of the row's own callback, once it has ended.",
    ),
    "RetryRows": fields({}, {"rows": ({"type": "array", "items": _COUNT}, "Numbers from 1; else all failed rows.")}),
    "CollectionEnded": fields(
        {
            "collectionId": COLLECTION_ID_SCHEMA,
            "status": one_of(("completed", "partial", "failed")),
            "timestamp": "time",
            "generation": _COUNT,
            "total": _COUNT,
            "completed": _COUNT,
            "failed": _COUNT,
            "usage": {"type": "object", "additionalProperties": {"type": "integer"}},
            "costUsd": "number?",
            "savedUsd": "number?",
            "failures": (_OBJECTS, "The first 100 failed rows: row, requestId, error, errorType."),
            "resultsUrl": "string",
            "metadata": "object",
            "ackUrl": "string?",
        },
        {
            "results": ("RowResult[]", "Left out where the body would be over RELAY_CALLBACK_MAX."),
            "resultsTruncated": "boolean",
            "checksFailed": (_COUNT, "Rows with a check that is false, where rows have checks."),
        },
        "Once per generation, when every row has ended.",
    ),
}

_ACCEPTED = {
    "message": "Collection accepted and processing",
    "collectionId": "invoices-42",
    "status": "pending",
    "total": 2,
    "statusUrl": "https://relay.example.com/api/collections/invoices-42",
    "timestamp": _AT,
    "warnings": [],
}
_RESULT = {"row": 1, "requestId": "invoices-42:1", "status": "completed", "response": "125.00"}
_COLLECTION = {
    "collectionId": "invoices-42",
    "status": "completed",
    "generation": 1,
    "total": 2,
    "pending": 0,
    "processing": 0,
    "completed": 2,
    "failed": 0,
    "createdAt": _AT,
    "finishedAt": _AT,
    "costUsd": 0.0102,
    "savedUsd": 0.0,
    "checksFailed": None,
    "delivery": {"status": "delivered", "attempts": 1, "lastStatusCode": 200, "nextAttemptAt": None},
    "acked": None,
    "metadata": {},
    "group": "default",
    "template": "invoice@3",
    "maxCostUsd": None,
    "cancelRequestedAt": None,
    "owner": "make",
}
EXAMPLES: dict[str, Any] = {
    "NewCollection": {
        "collectionId": "invoices-42",
        "template": "invoice",
        "rows": [{"text": "Total: 125.00"}, {"text": "Total: 80.00"}],
        "webhookUrl": "https://hook.example/claude",
    },
    "MoreRows": {"rows": [{"text": "Total: 12.00"}]},
    "AcceptedCollection": _ACCEPTED,
    "Collection": _COLLECTION,
    "CollectionOrMessage": _COLLECTION,
    "Collections": {"collections": [_COLLECTION], "cursor": None},
    "RowResult": _RESULT,
    "RetryRows": {"rows": [7]},
    "CollectionEnded": {
        "collectionId": "invoices-42",
        "status": "completed",
        "timestamp": _AT,
        "generation": 1,
        "total": 2,
        "completed": 2,
        "failed": 0,
        "usage": {"input_tokens": 62, "output_tokens": 20},
        "costUsd": 0.0102,
        "savedUsd": 0.0,
        "failures": [],
        "results": [_RESULT, {**_RESULT, "row": 2, "requestId": "invoices-42:2", "response": "80.00"}],
        "resultsUrl": "https://relay.example.com/api/collections/invoices-42/results",
        "metadata": {},
        "ackUrl": None,
    },
}

_FORM_OF_RESULTS = query("format", one_of(("json", "ndjson", "csv", "excel")), "json without it.")


def _action(name: str, summary: str, text: str, *, body: str = "", status: int = 202) -> Operation:
    return Operation(
        id=f"{name}Collection",
        method="POST",
        path=f"{_PATH}/{name}",
        summary=summary,
        tag=_TAG,
        text=text,
        query=(_OWNER,),
        headers=("Idempotency-Key",) if name == "close" else (),
        body={JSON: body} if body else {},
        answers={status: "Collection" if status == 202 else "CollectionOrMessage"},
        errors=(400, 409) if body else (409,),
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="createCollection",
        method="POST",
        path="/api/collections",
        summary="Submit a table: many rows, one callback",
        tag=_TAG,
        text="All rows or none: problems name rows[17].field. CSV and NDJSON take the other fields in the query, "
        f"multipart as parts beside the part file. Fields: {', '.join(FIELDS)}.",
        headers=("Idempotency-Key", "traceparent"),
        body={JSON: "NewCollection", MULTIPART: "NewCollection", CSV: "string", NDJSON: "string"},
        body_required=True,
        answers={202: "AcceptedCollection"},
        errors=(400, 409, 413, 415),
    ),
    Operation(
        id="collections",
        method="GET",
        path="/api/collections",
        summary="List collections, newest first",
        tag=_TAG,
        query=(
            _OWNER,
            query("cursor", {"type": "string", "pattern": "^[0-9A-Za-z]{26}$"}, "The cursor of the page before."),
            _LIMIT,
        ),
        answers={200: "Collections"},
        errors=(400,),
    ),
    Operation(
        id="collection",
        method="GET",
        path=_PATH,
        summary="The status and the counts of a collection",
        tag=_TAG,
        query=(_OWNER,),
        answers={200: "Collection"},
        errors=(409,),
    ),
    Operation(
        id="addRows",
        method="POST",
        path=f"{_PATH}/rows",
        summary="Add rows to an open collection",
        tag=_TAG,
        text="Each request is idempotent under its Idempotency-Key.",
        query=(_OWNER,),
        headers=("Idempotency-Key", "traceparent"),
        body={JSON: "MoreRows", CSV: "string", NDJSON: "string"},
        body_required=True,
        answers={202: "AcceptedCollection"},
        errors=(400, 409, 413, 415),
    ),
    _action("close", "End the intake of rows", "The callback follows once the last row has ended.", status=200),
    Operation(
        id="collectionResults",
        method="GET",
        path=f"{_PATH}/results",
        summary="The results in the order of the input, streamed",
        tag=_TAG,
        text="Also before the end: unfinished rows have row, requestId and status only. format=excel is CSV with "
        "semicolon, decimal comma and byte order mark.",
        query=(
            _OWNER,
            _FORM_OF_RESULTS,
            query("delimiter", "string", "Of CSV: a comma, a semicolon or tab."),
            query("decimal", one_of((".", ",")), "Of CSV: the decimal mark of numbers."),
            query("bom", one_of(("0", "1")), "Of CSV: whether a byte order mark comes first."),
        ),
        answers={200: "RowResult[]"},
        errors=(400, 409),
    ),
    Operation(
        id="collectionEvents",
        method="GET",
        path=f"{_PATH}/events",
        summary="The moves of a collection and its rows, as Server-Sent Events",
        tag=_TAG,
        text="Begins with its status (`collection`), then a `job` event for each move of a row; closed after the `end` "
        "of the generation. 204 after it.",
        query=(CURSOR, _OWNER),
        headers=("Last-Event-ID",),
        answers={200: {EVENTS: TEXT}},
        errors=(400, 409),
    ),
    _action("cancel", "Stop every row", "Rows that run are stopped in mid-stream.", status=200),
    _action("retry", "Run failed rows again: costs tokens", "Begins the next generation.", body="RetryRows"),
    _action("redeliver", "Send the callback again: free", "The same bytes and webhook-id.", body="RedeliverTo"),
)
