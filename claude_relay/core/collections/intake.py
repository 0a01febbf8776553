"""The fields of a collection, apart from its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest
from ..intake.body import read_metadata
from ..intake.fields import Diagnostics, Fields, kind
from ..intake.group import GROUP_RULE
from ..intake.idempotency import read_id
from ..intake.times import read_end
from ..intake.webhook import read_headers, read_url
from ..jobs.job import Retain
from ..lazy_dataclass import dataclass
from ..text.ids import GROUP
from ..text.json_values import find_problems
from ..text.strict_json import loads
from .collection import COLLECTION_ID, COLLECTION_ID_RULE, MAX_ROWS, Kind
from .csv_input import Table, too_many_rows

if TYPE_CHECKING:
    from ..intake.context import IntakeContext

#: Fields that are every row's defaults.
DEFAULTS = ("mode", "needBy", "group", "priority", "deadline", "retain")
FIELDS = (
    "collectionId",
    "rows",
    "template",
    "jobs",
    "open",
    "webhookUrl",
    "webhookHeaders",
    "metadata",
    *DEFAULTS,
    "each",
    "maxCostUsd",
    "onInvalid",
)
_MEANT = dict.fromkeys(("callbackUrl", "callback", "webhook", "hook", "hookUrl", "failureWebhookUrl"), "webhookUrl")
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class CollectionRequest:
    """A request that makes a collection, or adds rows to one."""

    collection_id: str | None
    body_hash: str
    kind: Kind | None
    table: Table = field(repr=False)
    template: str | dict[str, Any] | None = field(default=None, repr=False)
    stays_open: bool = False
    webhook_url: str | None = field(default=None, repr=False)
    webhook_empty: bool = False
    webhook_headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    each: bool = False
    max_cost_usd: float | None = None
    on_invalid: str = "refuse"
    warnings: tuple[str, ...] = ()
    traceparent: str | None = None  # of the request, for its callback and the rows that it brings

    @property
    def group(self) -> str:
        """The group of its callback."""
        return str(self.defaults.get("group") or "default")


def parse_collection(
    body: object,
    *,
    now: float,
    context: IntakeContext,
    table: Table | None = None,
    idempotency_key: str | None = None,
    form: bool = False,
    strict: bool = False,
) -> CollectionRequest:
    """
    The request that the body describes, or `InvalidRequest` with all problems of its fields.

    `table`: rows that came as CSV or NDJSON, with the other fields in `body`. `strict`: the body came from
    `strict_json`, which has checked its values.
    """
    values = _object(body, strict=strict)
    notes = Diagnostics(form=form)
    fields = Fields(values, notes)
    collection_id = read_id(fields, "collectionId", COLLECTION_ID, COLLECTION_ID_RULE, idempotency_key)
    webhook_url = read_url(fields, "webhookUrl", context)
    headers = read_headers(fields)
    metadata = read_metadata(fields)
    defaults = _read_defaults(fields, now=now)
    stays_open, each = _flag(fields, "open"), _flag(fields, "each")
    if each and webhook_url is None and fields.given("webhookUrl") is None:
        fields.problem("each", "needs a webhookUrl, to which the callback of each row is sent")
    limit = fields.number("maxCostUsd", low=0)
    if limit == 0:
        fields.problem("maxCostUsd", "must be more than 0")
    on_invalid = fields.choice("onInvalid", ("refuse", "fail"))
    fields.unknown(FIELDS, meant=_MEANT)
    template = _template(fields)
    which, rows = read_rows(fields, table, required=not stays_open)
    if which is Kind.ROWS and fields.given("template") is None:
        fields.problem("template", "is required with rows: the name of a template, or a submit body with placeholders")
    if which is Kind.JOBS and template is not None:
        fields.problem("template", "cannot be combined with jobs: each job is a complete submit body")
    if notes.problems:
        raise InvalidRequest(problems=notes.problems)

    if which is None and template is not None:
        which = Kind.ROWS
    head = {name: value for name, value in values.items() if name not in ("collectionId", "rows", "jobs")}
    return CollectionRequest(
        collection_id=collection_id,
        body_hash=hash_of(head, rows.rows),
        kind=which,
        table=rows,
        template=template,
        stays_open=stays_open,
        webhook_url=webhook_url,
        webhook_empty="webhookUrl" in values and webhook_url is None,
        webhook_headers=headers,
        metadata=metadata,
        defaults=defaults,
        each=each,
        max_cost_usd=limit,
        on_invalid=on_invalid or "refuse",
        warnings=tuple(notes.warnings),
    )


def parse_more_rows(body: object, *, table: Table | None = None, strict: bool = False) -> CollectionRequest:
    """A request that adds rows to an open collection."""
    values = _object(body, strict=strict)
    notes = Diagnostics()
    fields = Fields(values, notes)
    which, rows = read_rows(fields, table, required=True)
    fields.unknown(("rows", "jobs"))
    if notes.problems:
        raise InvalidRequest(problems=notes.problems)

    return CollectionRequest(
        collection_id=None,
        body_hash=hash_of({}, rows.rows),
        kind=which,
        table=rows,
        warnings=tuple(notes.warnings),
    )


def read_rows(fields: Fields, table: Table | None, *, required: bool) -> tuple[Kind | None, Table]:
    """The rows of a request in one of their forms."""
    rows, jobs = fields.array("rows"), fields.array("jobs")
    if table is not None:
        if rows is not None or jobs is not None:
            fields.problem("rows" if rows is not None else "jobs", "is given besides the rows of the body")
        return Kind.ROWS, table
    if rows is not None and jobs is not None:
        fields.problem("jobs", "cannot be combined with rows: send one of them")
    which, items = (Kind.JOBS, jobs) if jobs is not None else (Kind.ROWS, rows) if rows is not None else (None, [])
    if which is None and required and not fields.notes.problems:
        fields.problem("rows", "is required: 1 to 10,000 objects with the variables of a template; or jobs")
    if which is not None and len(items) > MAX_ROWS:
        fields.problem(which.value, too_many_rows().problems[0].problem)
    columns = dict.fromkeys(key for row in items if which is Kind.ROWS and isinstance(row, dict) for key in row)

    return which, Table(rows=items, columns=tuple(columns))


def hash_of(head: Mapping[str, Any], rows: Sequence[Any]) -> str:
    """A hash of the request without its id; the same for any order of fields."""
    digest = hashlib.sha256(_canonical({name: value for name, value in head.items() if value not in ("", None)}))
    for row in rows:
        digest.update(_canonical(row))
        digest.update(b"\n")

    return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    if isinstance(value, InvalidRequest):
        return str(value).encode("utf-8", "replace")

    return _ENCODER.encode(value).encode("utf-8", "replace")


def _object(body: object, *, strict: bool) -> dict[str, Any]:
    if not strict and (problems := find_problems(body)):
        raise InvalidRequest(problems=problems)
    if not isinstance(body, dict):
        text = f'must be an object such as {{"template": "…", "rows": [{{…}}]}}, not {kind(body)}'
        raise InvalidRequest.at("body", text)

    return body


def _read_defaults(fields: Fields, *, now: float) -> dict[str, Any]:
    """The defaults of the rows, as they were sent: each row is checked with them."""
    fields.choice("mode", ("live", "batch", "auto"))
    read_end(fields, "needBy", now=now)
    read_end(fields, "deadline", now=now)
    fields.name("group", GROUP, GROUP_RULE)
    fields.number("priority", low=0, high=86_400)
    fields.choice("retain", [value.value for value in Retain])

    return {name: value for name in DEFAULTS if (value := fields.given(name)) is not None}


def _flag(fields: Fields, name: str) -> bool:
    value = fields.given(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    fields.problem(name, f"must be true or false, not {kind(value)}")

    return False


def _template(fields: Fields) -> str | dict[str, Any] | None:
    value = fields.given("template")
    if isinstance(value, str) and value.lstrip().startswith("{"):  # of a form, which has strings only
        value = loads(value.encode("utf-8", "surrogatepass"))
    if value is None or isinstance(value, (str, dict)):
        return value
    fields.problem("template", f"must be the name of a template, or a submit body with placeholders, not {kind(value)}")

    return None
