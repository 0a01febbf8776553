"""The form of a row of `operations`, and the parameters and media types that rows share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from ...core import wire
from ...core.intake.query import MAX_LIMIT
from ...core.lazy_dataclass import dataclass
from .shapes import Schema, shape

JSON, FORM, NDJSON = "application/json", "application/x-www-form-urlencoded", "application/x-ndjson"
MULTIPART = "multipart/form-data"
HTML, CSS, EVENTS = "text/html", "text/css", "text/event-stream"


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


def query(name: str, schema: Schema | str, text: str) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "schema": shape(schema), "description": text}


LIMIT = query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "Rows of one page.")
OWNER = query("owner", "string", "For the admin key: the owner of the job.")
SINCE = query("since", "string", "A time (RFC 3339), a day, a month, or an age such as 2h.")
STREAM_TEXT = query("text", {"type": "string", "enum": ["0", "1"]}, "0: without the text of running calls.")
CURSOR = query("after", "string", "The id of an event: the stream goes on after it, as with Last-Event-ID.")
GROUP_OF = query("group", "string", "Of this group only.")
STATUS_OF = query(
    "status",
    {"type": "string", "examples": list(wire.STATES)},
    f"One of {', '.join(wire.STATES)}; several with commas.",
)
FLAG: Schema = {"type": "boolean"}
FILTERS = (
    STATUS_OF,
    query("error", "string", "Values of errorType, separated by commas."),
    GROUP_OF,
    query("key", "string", "The name of the API key that sent the job, or admin."),
    query("model", "string", "A model id."),
    query("host", "string", "Only jobs with a callback to this host."),
    SINCE,
    query("until", "string", "As since; a day or a month is included as a whole."),
    query("dead", FLAG, "Only jobs whose callback is dead."),
    query("unacked", FLAG, "Only results that were delivered and not acknowledged."),
)

JOB, RELAY, OPEN, SUBMIT, PAGES = "Jobs", "The relay", "Without a key", "Submit", "Documents"
TEMPLATES = "Templates"
TEXT: Schema = {"type": "string"}
