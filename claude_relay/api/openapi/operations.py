"""One row for each method of each route: what it takes and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core import wire
from ...core.intake.query import MAX_LIMIT
from ...core.money.spend import GROUPINGS
from .shapes import Schema, one_of, shape

JSON, FORM, NDJSON = "application/json", "application/x-www-form-urlencoded", "application/x-ndjson"
MULTIPART = "multipart/form-data"
HTML, CSS = "text/html", "text/css"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """
    One method of one route.

    `answers`: the component, or the content by media type, for each status of success. `body`: the component of the
    request body, by media type. `errors` are those besides the ones that every route has.
    """

    id: str
    method: str
    path: str
    summary: str
    tag: str
    text: str = ""
    query: Sequence[Mapping[str, Any]] = ()
    headers: Sequence[str] = ()
    body: Mapping[str, str] = field(default_factory=dict)
    body_required: bool = False
    answers: Mapping[int, str | Mapping[str, Schema]]
    errors: Sequence[int] = ()


def query_parameter(name: str, schema: Schema | str, text: str) -> Mapping[str, Any]:
    """A parameter of a query string."""
    return {"name": name, "in": "query", "schema": shape(schema), "description": text}


_LIMIT = query_parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "Rows of one page.")
_OWNER = query_parameter("owner", "string", "For the admin key: the owner of the job.")
_SINCE = query_parameter("since", "string", "A time (RFC 3339), a day, a month, or an age such as 2h.")
_GROUP_OF = query_parameter("group", "string", "Of this group only.")
_STATUS_OF = query_parameter(
    "status",
    {"type": "string", "examples": list(wire.STATES)},
    f"One of {', '.join(wire.STATES)}; several with commas.",
)
_FLAG: Schema = {"type": "boolean"}
_FILTERS = (
    _STATUS_OF,
    query_parameter("error", "string", "Values of errorType, separated by commas."),
    _GROUP_OF,
    query_parameter("key", "string", "The name of the API key that sent the job, or admin."),
    query_parameter("model", "string", "A model id."),
    query_parameter("host", "string", "Only jobs with a callback to this host."),
    _SINCE,
    query_parameter("until", "string", "As since; a day or a month is included as a whole."),
    query_parameter("dead", _FLAG, "Only jobs whose callback is dead."),
    query_parameter("unacked", _FLAG, "Only results that were delivered and not acknowledged."),
)

_JOB, _RELAY, _OPEN, _SUBMIT, _PAGES = "Jobs", "The relay", "Without a key", "Submit", "Documents"
_TEMPLATES = "Templates"
_TEXT: Schema = {"type": "string"}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="submit",
        method="POST",
        path="/api/claude",
        summary="Submit one job",
        tag=_SUBMIT,
        text="202 once the job is on disk. The same requestId with the same body is the same job, so that repeating a "
        "request is safe. Besides JSON a form is taken: nested fields as options.model or options[model]; parts with a "
        "file name are files.",
        headers=("Idempotency-Key", "Prefer", "traceparent"),
        body={JSON: "Submit", FORM: "Submit", MULTIPART: "Submit"},
        body_required=True,
        answers={202: "Accepted", 200: "Result"},
        errors=(400, 409, 413, 415),
    ),
    Operation(
        id="submitMany",
        method="POST",
        path="/api/claude/bulk",
        summary="Submit up to 1,000 jobs",
        tag=_SUBMIT,
        text="One verdict for each item, in order; an invalid item stops none of the others.",
        body={JSON: "Submit[]", NDJSON: "string"},
        body_required=True,
        answers={207: "Verdict[]"},
        errors=(400, 413, 415),
    ),
    Operation(
        id="estimate",
        method="POST",
        path="/api/estimate",
        summary="Estimate tokens and price",
        tag=_SUBMIT,
        text="The body of a submit. Nothing is stored or run.",
        body={JSON: "Submit", FORM: "Submit", MULTIPART: "Submit"},
        body_required=True,
        answers={200: "Estimate"},
        errors=(400, 404, 409, 413, 415),
    ),
    Operation(
        id="templates",
        method="GET",
        path="/api/templates",
        summary="List templates",
        tag=_TEMPLATES,
        query=(_OWNER,),
        answers={200: "Templates"},
    ),
    Operation(
        id="template",
        method="GET",
        path="/api/templates/{name}",
        summary="One template with its body",
        tag=_TEMPLATES,
        text="name is the newest version, name@3 that version. Webhook headers are never shown.",
        query=(_OWNER,),
        answers={200: "Template"},
    ),
    Operation(
        id="saveTemplate",
        method="PUT",
        path="/api/templates/{name}",
        summary="Save a template",
        tag=_TEMPLATES,
        text="201 for a new version, 200 where the body equals the newest one.",
        body={JSON: "NewTemplate"},
        body_required=True,
        answers={200: "SavedTemplate", 201: "SavedTemplate"},
        errors=(400, 413, 415),
    ),
    Operation(
        id="deleteTemplate",
        method="DELETE",
        path="/api/templates/{name}",
        summary="Delete a template",
        tag=_TEMPLATES,
        text="name@3 stays readable while a kept job was made of it.",
        query=(_OWNER,),
        answers={204: {}},
    ),
    Operation(
        id="status",
        method="GET",
        path="/api/status/{requestId}",
        summary="Where a job stands",
        tag=_JOB,
        query=(_OWNER,),
        answers={200: "Status"},
    ),
    Operation(
        id="result",
        method="GET",
        path="/api/result/{requestId}",
        summary="The callback body",
        tag=_JOB,
        text="Exactly the bytes of the callback once the job has ended; before that 202 with the status.",
        query=(_OWNER,),
        headers=("Prefer",),
        answers={200: "Result", 202: "Status"},
    ),
    Operation(
        id="jobs",
        method="GET",
        path="/api/jobs",
        summary="List jobs, newest first",
        tag=_JOB,
        query=(
            *_FILTERS,
            query_parameter("q", "string", "Full-text search."),
            _LIMIT,
            query_parameter(
                "cursor", {"type": "string", "pattern": "^[0-9A-Za-z]{26}$"}, "The cursor of the page before."
            ),
            _OWNER,
        ),
        answers={200: "Jobs"},
        errors=(400,),
    ),
    Operation(
        id="job",
        method="GET",
        path="/api/jobs/{requestId}",
        summary="The whole record of a job",
        tag=_JOB,
        query=(_OWNER,),
        answers={200: "Record"},
    ),
    Operation(
        id="cancel",
        method="POST",
        path="/api/jobs/{requestId}/cancel",
        summary="Cancel a job, also in mid-stream",
        tag=_JOB,
        query=(_OWNER,),
        answers={200: "StatusOrCancelled"},
    ),
    Operation(
        id="retry",
        method="POST",
        path="/api/jobs/{requestId}/retry",
        summary="Run a job again: costs tokens",
        tag=_JOB,
        query=(_OWNER,),
        body={JSON: "RetryOptions"},
        answers={202: "Status"},
        errors=(400, 413, 415),
    ),
    Operation(
        id="redeliver",
        method="POST",
        path="/api/jobs/{requestId}/redeliver",
        summary="Send the stored outcome again: free",
        tag=_JOB,
        query=(_OWNER,),
        body={JSON: "RedeliverTo"},
        answers={202: "Status"},
        errors=(400, 413, 415),
    ),
    Operation(
        id="redeliverMany",
        method="POST",
        path="/api/redeliver",
        summary="Send up to 1,000 stored outcomes again: free",
        tag=_JOB,
        query=(_OWNER,),
        body={JSON: "RedeliverMany"},
        body_required=True,
        answers={207: "Verdict[]"},
        errors=(400, 413, 415),
    ),
    Operation(
        id="group",
        method="GET",
        path="/api/groups/{group}",
        summary="The limits of a group",
        tag=_RELAY,
        answers={200: "Group"},
    ),
    Operation(
        id="setGroup",
        method="POST",
        path="/api/groups/{group}",
        summary="Set the limits of a group",
        tag=_RELAY,
        text="A field that is left out stays as it is; null removes the limit.",
        body={JSON: "GroupLimits"},
        answers={200: "Group"},
        errors=(400, 413, 415),
    ),
    *(
        Operation(
            id=f"{verb}Group",
            method="POST",
            path=f"/api/groups/{{group}}/{verb}",
            summary=f"{verb.capitalize()} a group",
            tag=_RELAY,
            answers={200: "Group"},
        )
        for verb in ("pause", "resume")
    ),
    Operation(
        id="cost",
        method="GET",
        path="/api/cost",
        summary="Spend so far",
        tag=_RELAY,
        text="A key sees what it spent itself.",
        query=(query_parameter("by", one_of(GROUPINGS), "What the rows are by. Default: day."), *_FILTERS, _OWNER),
        answers={200: "Cost"},
        errors=(400,),
    ),
    Operation(
        id="overview",
        method="GET",
        path="/api/overview",
        summary="The whole relay on one screen",
        tag=_RELAY,
        answers={200: "Overview"},
    ),
    Operation(
        id="moves",
        method="GET",
        path="/api/moves",
        summary="Events, page by page",
        tag=_RELAY,
        query=(query_parameter("cursor", {"type": "integer", "minimum": 0}, "Only events after it."), _LIMIT, _OWNER),
        answers={200: "Moves"},
        errors=(400,),
    ),
    Operation(
        id="drain",
        method="POST",
        path="/api/drain",
        summary="Accept no new jobs, before maintenance",
        tag=_RELAY,
        text="Submits are 503 until /api/resume. `drain` of the overview tells when the relay is idle.",
        body={JSON: "Drain"},
        answers={200: "Overview"},
        errors=(400, 413, 415),
    ),
    *(
        Operation(
            id=f"{verb}All",
            method="POST",
            path=f"/api/{verb}",
            summary=f"{verb.capitalize()} all groups",
            tag=_RELAY,
            answers={200: "Overview"},
        )
        for verb in ("pause", "resume")
    ),
    *(
        Operation(
            id=name,
            method=method,
            path="/ack/{token}",
            summary="Acknowledge a result",
            tag=_OPEN,
            text="The ackUrl of a callback: called once the result is applied. Calling it again is 200, too.",
            answers={200: "Acked"},
            errors=(404,),
        )
        for name, method in (("ack", "GET"), ("ackByPost", "POST"))
    ),
    Operation(
        id="health",
        method="GET",
        path="/health",
        summary="Whether the process lives",
        tag=_OPEN,
        answers={200: "Health"},
    ),
    Operation(
        id="ready",
        method="GET",
        path="/health/ready",
        summary="Whether accepted jobs will run",
        tag=_OPEN,
        text="503 with the reasons: store, disk, worker, a parked queue.",
        answers={200: "Readiness", 503: "Readiness"},
    ),
    Operation(
        id="home",
        method="GET",
        path="/",
        summary="What this is, and where its documents are",
        tag=_PAGES,
        answers={200: {HTML: _TEXT}},
    ),
    Operation(
        id="openapi",
        method="GET",
        path="/openapi.json",
        summary="This document",
        tag=_PAGES,
        answers={200: {JSON: {"type": "object"}}},
    ),
    Operation(
        id="docs",
        method="GET",
        path="/docs",
        summary="This document as a page",
        tag=_PAGES,
        answers={200: {HTML: _TEXT}},
    ),
    Operation(
        id="style",
        method="GET",
        path="/docs/style.css",
        summary="The style of the pages",
        tag=_PAGES,
        answers={200: {CSS: _TEXT}},
    ),
)
