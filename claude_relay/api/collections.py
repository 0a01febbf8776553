"""Collections: create, add rows, close, look at, results, and the actions on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import falcon

from ..core.collections.collection import COLLECTION_ID, MAX_ROWS
from ..core.collections.csv_input import Table, read_csv, too_many_rows
from ..core.collections.csv_output import read_form
from ..core.collections.intake import CollectionRequest, parse_collection, parse_more_rows
from ..core.intake import IntakeContext, from_form
from ..core.intake.idempotency import unquoted
from ..core.intake.query import collected, parse_limit, parse_page_cursor, parse_redeliver_url, raise_problems
from ..core.keys import Scope
from ..core.text.ndjson import loads_lines
from ..errors import Conflict, InvalidRequest, NotFound, Problem, UnsupportedMedia
from ..ports import Tracer
from ..services import CollectionRef, Relay
from . import multipart
from .auth import Caller
from .request_bodies import NDJSON, Bodies, content_type
from .submit import accept_span, base_url

_CSV = ("text/csv", "application/csv")
_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "excel": "text/csv; charset=utf-8; header=present",
}
_NAMES = {"json": "json", "ndjson": "ndjson", "csv": "csv", "excel": "csv"}


class Collections:
    """`GET` and `POST /api/collections`."""

    def __init__(
        self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float], tracer: Tracer
    ) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock
        self._tracer = tracer

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        problems: list[Problem] = []
        limit, before = 50, None
        with collected(problems):
            limit = parse_limit(req.get_param("limit"), default=50)
        with collected(problems):
            before = parse_page_cursor(req.get_param("cursor"))
        raise_problems(problems)
        page, cursor = self._relay.collections.all(owner=owner, before=before, limit=limit)
        resp.media = {"collections": list(page), "cursor": cursor}

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        fields, table, form = read_table(req, self._bodies)
        request = parse_collection(
            fields,
            table=table,
            now=self._clock(),
            context=self._intake,
            idempotency_key=req.get_header("Idempotency-Key"),
            form=form,
            strict=not form,
        )
        reads = caller.may(Scope.READ)
        with accept_span(self._tracer, req) as traceparent:
            request = replace(request, traceparent=traceparent)
            accepted = self._relay.collections.create(
                request, self._intake, owner=caller.owner, now=self._clock(), may_continue=reads
            )
        answer = accepted.body(now=self._clock(), base=_base(req, self._relay), show_state=reads)
        _accept(resp, answer, duplicate=accepted.duplicate)


class CollectionByName:
    """`/api/collections/{collectionId}` and everything below it."""

    def __init__(
        self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float], tracer: Tracer
    ) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock
        self._tracer = tracer

    def on_get(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        resp.media = self._relay.collections.show(collection_ref(req, collection_id))

    def on_post_rows(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        caller: Caller = req.context.caller
        fields, table, form = read_table(req, self._bodies)
        request: CollectionRequest = parse_more_rows(fields, table=table, strict=not form)
        reads = caller.may(Scope.READ)
        with accept_span(self._tracer, req) as traceparent:
            request = replace(request, traceparent=traceparent)
            accepted = self._relay.collections.add_rows(
                ref, request, self._intake, key=_key(req), now=self._clock(), may_continue=reads
            )
        answer = accepted.body(now=self._clock(), base=_base(req, self._relay), show_state=reads)
        _accept(resp, answer, duplicate=accepted.duplicate)

    def on_post_close(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        if self._relay.collections.close(ref, key=_key(req)):
            resp.set_header("Idempotency-Replayed", "true")
        self._answer(req, resp, ref, "The collection is closed")

    def on_post_cancel(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        caller: Caller = req.context.caller
        try:
            self._relay.collection_actions.cancel(ref)
        except Conflict:
            if caller.may(Scope.READ):
                raise
            raise Conflict(f"collection {collection_id} can no longer be cancelled") from None
        self._answer(req, resp, ref, "The cancellation was accepted")

    def on_post_retry(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        body = self._bodies.optional(req)
        _only(body, "rows")
        self._relay.collection_actions.retry(ref, _row_numbers(body.get("rows")))
        resp.status = falcon.HTTP_202
        resp.media = self._relay.collections.show(ref)

    def on_post_redeliver(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        body = self._bodies.optional(req)
        _only(body, "url")
        url = parse_redeliver_url(body.get("url"), self._intake.check_url)
        self._relay.collection_actions.redeliver(ref, url=url)
        resp.status = falcon.HTTP_202
        resp.media = self._relay.collections.show(ref)

    def on_get_results(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        name = (req.get_param("format") or "json").lower()
        if name not in _TYPES:
            raise InvalidRequest.at("format", f"must be one of {', '.join(_TYPES)}")
        results = self._relay.collection_results
        pieces: Iterator[bytes]
        if name == "json":
            pieces = results.json(ref)
        elif name == "ndjson":
            pieces = results.ndjson(ref)
        else:
            form = read_form(
                excel=name == "excel",
                delimiter=req.get_param("delimiter"),
                decimal=req.get_param("decimal"),
                bom=req.get_param("bom"),
            )
            pieces = results.csv(ref, form)
        resp.content_type = _TYPES[name]
        file = f"{collection_id.replace(':', '_')}.{_NAMES[name]}"
        resp.set_header(
            "Content-Disposition", f'attachment; filename="{file}"' if name in ("csv", "excel") else "inline"
        )
        resp.stream = results.download(pieces)

    on_head_results = on_get_results

    def _answer(self, req: falcon.Request, resp: falcon.Response, ref: CollectionRef, message: str) -> None:
        """The status of the collection; without it for a key that may not read."""
        caller: Caller = req.context.caller
        if caller.may(Scope.READ):
            resp.media = self._relay.collections.show(ref)
        else:
            resp.media = {"message": message, "collectionId": ref.collection_id}


def read_table(req: falcon.Request, bodies: Bodies) -> tuple[Any, Table | None, bool]:
    """The fields of a request, its table (of CSV or NDJSON), and whether the fields are a form's."""
    media_type = content_type(req)
    if media_type == multipart.MEDIA_TYPE:
        fields, file = multipart.split_file(bodies.read(req), req.content_type or "", "file")
        if file is None:
            return fields, None, True
        kind, data = file
        return fields, _table(kind, data, fields.pop("delimiter", None)), True
    if media_type in (*_CSV, *NDJSON):
        table = _table(req.content_type or "", bodies.read(req), req.get_param("delimiter"))
        return _query_fields(req), table, True
    fields, form = bodies.object(req)

    return fields, None, form


def _table(kind: str, data: bytes, delimiter: str | None) -> Table:
    """The table of a CSV or NDJSON body."""
    media_type, options = falcon.parse_header(kind)
    if media_type.lower() in _CSV:
        return read_csv(data, charset=options.get("charset"), delimiter=delimiter or None)
    if media_type.lower() not in NDJSON:
        raise UnsupportedMedia(f"A table of type {media_type} is not accepted: send {_CSV[0]} or {NDJSON[0]}.")
    lines = loads_lines(data, max_lines=MAX_ROWS)
    if lines is None:
        raise too_many_rows()
    if not lines:
        raise InvalidRequest.at("rows", "is an empty file: send a JSON object in each line")
    columns = dict.fromkeys(key for line in lines if isinstance(line, dict) for key in line)

    return Table(rows=list(lines), columns=tuple(columns))


def _query_fields(req: falcon.Request) -> dict[str, Any]:
    """The fields in the query, as a form has them."""
    pairs = [
        (name, value)
        for name, values in req.params.items()
        if name not in ("delimiter", "owner")
        for value in (values if isinstance(values, list) else [values])
    ]
    return from_form(pairs)


def collection_ref(req: falcon.Request, collection_id: str) -> CollectionRef:
    """The collection that a path names; raises `NotFound` for an id that none can have."""
    caller: Caller = req.context.caller
    if not COLLECTION_ID.fullmatch(collection_id):
        raise NotFound("There is no collection by that name: a collectionId has 1 to 120 letters, digits and . _ : -")

    return CollectionRef(collection_id=collection_id, owner=req.get_param("owner") if caller.sees_all else caller.owner)


def _key(req: falcon.Request) -> str | None:
    key = unquoted(req.get_header("Idempotency-Key") or "")
    if len(key) > 255:
        raise InvalidRequest.at("Idempotency-Key", "has more than 255 characters")

    return key or None


def _base(req: falcon.Request, relay: Relay) -> str | None:
    return relay.policy.public_url or base_url(req)


def _accept(resp: falcon.Response, answer: dict[str, Any], *, duplicate: bool) -> None:
    resp.status = falcon.HTTP_202
    resp.media = answer
    resp.set_headers({"Location": answer["statusUrl"], "Retry-After": "5"})
    if duplicate:
        resp.set_header("Idempotency-Replayed", "true")


def _row_numbers(value: Any) -> list[int] | None:
    if value is None:
        return None
    valid = isinstance(value, list) and all(isinstance(row, int) and not isinstance(row, bool) for row in value)
    if not valid or not value:
        raise InvalidRequest.at(
            "rows", "must be a list of row numbers such as [7]; without it all failed rows are retried"
        )

    return list(value)


def _only(body: dict[str, Any], name: str) -> None:
    problems = [Problem(field=key[:64], problem=f"is not a field here: only {name} is") for key in body if key != name]
    if problems:
        raise InvalidRequest(problems=problems[:20])
