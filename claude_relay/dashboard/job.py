"""One job: its calls and deliveries side by side, request, documents, answer, and what can be done about it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import falcon

from ..core.intake.query import parse_redeliver_url
from ..core.text.ids import REQUEST_ID
from ..errors import InvalidRequest, NotFound
from ..services import SAMPLE_MODEL, JobRef
from .acts import kind_of
from .rendering import pretty
from .site import Page, Visit

#: Characters of a text on the page, and rows of a table of fields.
_TEXT, _ROWS = 8_000, 200
#: The largest callback that is taken apart, and the largest request that is read for the page unasked, in bytes.
_PARSED, _REQUEST = 1_000_000, 4_000_000
#: Pictures that a browser shows without running anything.
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_LOCKED = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
#: Entries of a request that stand elsewhere on the page.
_APART = ("prompt", "messages", "files")


class JobDetails(Page):
    """`/dashboard/jobs/{request_id}`."""

    typed = ("redirect",)

    def get(self, visit: Visit, **names: str) -> None:
        ref = _ref(visit, names["request_id"])
        request_size, callback_size = self.relay.dashboard.sizes(ref)
        # The part that is refreshed shows nothing of the request.
        largest = None if visit.param("request") and not visit.live else _REQUEST
        record = self.relay.queries.job_details(ref, largest=largest)
        ended = record["status"] in ("completed", "failed")
        callback = self._callback(ref) if ended and 0 < callback_size <= _PARSED else b""
        body = json.loads(callback) if callback else {}
        request = record["request"] or {}
        text = body.get("response") or body.get("partialResponse") or record["partialResponse"] or ""
        settled = ended and record["delivery"]["status"] in ("none", "delivered", "dead")
        visit.render(
            "job.html",
            record["requestId"],
            job=record,
            here=visit.here,
            raw=f"/dashboard/jobs/{quote(record['requestId'], safe='')}/raw",
            suffix=f"?owner={quote(record['owner'], safe='')}" if visit.caller.sees_all else "",
            ended=ended,
            sample_model=SAMPLE_MODEL,
            every=20 if settled else 2,
            prompt=_prompt(request),
            files=[_document(file) for file in request.get("files") or []],
            options={name: value for name, value in request.items() if name not in _APART},
            answer=text,
            callback=json.dumps(body, ensure_ascii=False, indent=2) if body else "",
            callback_size=callback_size,
            request_size=request_size,
            request_hidden=largest is not None and request_size > largest,
            fields=list(_fields(body.get("json")))[:_ROWS] if body.get("json") is not None else [],
            result_json=body.get("json"),
            last_cost=sum(call["costUsd"] or 0.0 for call in record["calls"] if call["run"] == record["run"]),
            limit=_TEXT,
            timeout=self.relay.policy.call_timeout,
            curl=_curl(record, base=(self.relay.policy.public_url or "http://127.0.0.1:3000")),
        )

    def post(self, visit: Visit, **names: str) -> None:
        ref = _ref(visit, names["request_id"])
        act, url = visit.form.text("act"), visit.form.text("url") or None
        kind = kind_of("redeliver" if act == "redirect" else act)
        visit.require(*kind.scopes)
        if act == "redirect" and url is None:
            raise InvalidRequest.at("url", "is required")
        if kind.name == "redeliver":
            self.relay.redeliver(ref, url=parse_redeliver_url(url, self.site.intake.check_url))
            visit.redirect(visit.here, "Sent again: watch the deliveries below.")
        elif kind.name == "retry":
            self.relay.retry(ref)
            visit.redirect(visit.here, "Started again: the call is made, and its result delivered.")
        else:
            self.relay.cancel(ref)
            visit.redirect(visit.here, "Cancelled.")

    def _callback(self, ref: JobRef) -> bytes:
        try:
            return self.relay.queries.result(ref) or b""
        except NotFound:
            return b""  # erased on delivery


class RawText(Page):
    """`/dashboard/jobs/{request_id}/raw/{part}`: complete texts, as text."""

    def get(self, visit: Visit, **names: str) -> None:
        ref = _ref(visit, names["request_id"])
        visit.resp.set_headers(_LOCKED)
        visit.resp.content_type = "text/plain; charset=utf-8"
        visit.resp.data = self._part(ref, names["part"]).encode("utf-8", "replace")

    def _part(self, ref: JobRef, part: str) -> str:
        if part in ("callback", "answer"):
            callback = (self.relay.queries.result(ref) or b"{}").decode("utf-8", "replace")
            if part == "callback":
                return callback
            body = json.loads(callback)
            return str(body.get("response") or body.get("partialResponse") or self.relay.queries.partial(ref))
        record = self.relay.queries.job_details(ref)
        if part == "prompt":
            return _prompt(record["request"] or {})
        if part == "request":
            return pretty(_submit_body(record))
        raise NotFound("There is no such text.")


class JobFile(Page):
    """`/dashboard/jobs/{request_id}/files/{number}`: a document; pictures are shown, the rest is a download."""

    def get(self, visit: Visit, **names: str) -> None:
        number = int(names["number"]) if names["number"].isdigit() and len(names["number"]) < 4 else -1
        file = self.relay.dashboard.document(_ref(visit, names["request_id"]), number)
        resp: falcon.Response = visit.resp
        resp.set_headers(_LOCKED)
        resp.data = file.data
        if file.media_type in _PICTURES:
            resp.content_type = file.media_type
        else:
            resp.content_type = (
                falcon.MEDIA_DOWNLOAD if hasattr(falcon, "MEDIA_DOWNLOAD") else "application/octet-stream"
            )
            resp.downloadable_as = "".join(char if char.isprintable() else "_" for char in file.name)


def _ref(visit: Visit, request_id: str) -> JobRef:
    if not REQUEST_ID.fullmatch(request_id):
        raise NotFound("There is no job by that name.")

    return visit.ref(request_id)


def _prompt(request: Mapping[str, Any]) -> str:
    """The prompt, or the turns of a conversation as text."""
    if "prompt" in request:
        return str(request["prompt"])
    turns = request.get("messages") or []

    return "\n\n".join(f"[{turn.get('role')}]\n{_turn_text(turn.get('content'))}" for turn in turns)


def _turn_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []

    return "\n".join(
        str(block["text"])
        if isinstance(block, dict) and "text" in block
        else json.dumps(block, ensure_ascii=False)[:500]
        for block in blocks
    )


def _document(file: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(file.get("mediaType") or "")

    return {
        "name": str(file.get("name") or file.get("url") or file.get("fileId") or "without a name"),
        "kind": kind,
        "size": file.get("size"),
        "url": file.get("url"),
        "stored": "size" in file,
        "picture": kind in _PICTURES and "size" in file,
    }


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The values of a JSON answer, each with its path: `lines[0].amount`."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _fields(inner, f"{path}[{number}]")
    else:
        yield path or "(value)", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _submit_body(record: Mapping[str, Any]) -> dict[str, Any]:
    """A body that submits the same again; of files that were sent only the names, and never headers."""
    request = dict(record["request"] or {})
    files = [
        {name: value for name, value in file.items() if name in ("name", "mediaType", "url", "fileId")}
        | ({} if "url" in file or "fileId" in file else {"data": "<base64>"})
        for file in request.pop("files", None) or []
    ]
    body = {
        **request,
        **({"files": files} if files else {}),
        "webhookUrl": record["webhookUrl"],
        "failureWebhookUrl": record["failureWebhookUrl"],
        "group": record["group"] if record["group"] != "default" else None,
        "mode": record["mode"] if record["mode"] != "live" else None,
        "metadata": record["metadata"] or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _curl(record: Mapping[str, Any], *, base: str) -> str | None:
    """The command that submits it again, in ASCII so that nothing hides; None for a long body."""
    body = json.dumps(_submit_body(record), indent=1)
    if len(body) > _TEXT:
        return None

    url = shlex.quote(f"{base.rstrip('/')}/api/claude")

    return f'curl {url} -H "X-API-Key: $API_SECRET_KEY" --json {shlex.quote(body)}'
