"""Request bodies: size limit, content type and decoding, before any rule about fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import falcon

from ..core.intake import from_form
from ..core.text import strict_json
from ..core.text.ndjson import loads_lines
from ..core.text.sizes import format_size
from ..errors import InvalidRequest, RelayError, TooLarge, UnsupportedMedia
from . import multipart

_FORM = "application/x-www-form-urlencoded"
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
#: Items of one bulk request.
MAX_ITEMS = 1_000


class Bodies:
    """Reads bodies of up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def object(self, req: falcon.Request) -> tuple[Any, bool]:
        """The decoded body, and whether it was a form."""
        kind = content_type(req)
        if kind == _FORM:
            return from_form(_form_fields(self.read(req))), True
        if kind == multipart.MEDIA_TYPE:
            return multipart.from_multipart(self.read(req), req.content_type or ""), True
        if kind in ("application/json", "") or kind.endswith("+json"):
            return strict_json.loads(self.read(req)), False
        raise UnsupportedMedia(
            f"Content-Type {kind} is not accepted: send JSON (application/json) or a form ({_FORM}, "
            f"{multipart.MEDIA_TYPE})."
        )

    def optional(self, req: falcon.Request) -> dict[str, Any]:
        """The body as an object; empty if there is none."""
        if not req.content_length and (req.get_header("Transfer-Encoding") or "").lower() != "chunked":
            return {}
        value, _ = self.object(req)
        if not isinstance(value, dict):
            raise _refused("must be a JSON object")

        return value

    def many(self, req: falcon.Request) -> Sequence[Any | RelayError]:
        """The items of a JSON array or of NDJSON; an invalid line is an error in its place."""
        kind = content_type(req)
        if kind in NDJSON:
            lines = loads_lines(self.read(req), max_lines=MAX_ITEMS)
            if not lines:
                raise _wrong_count("more" if lines is None else "none")
            return lines
        items, _ = self.object(req)
        if not isinstance(items, list):
            raise _refused("must be a JSON array, or NDJSON")
        if not 1 <= len(items) <= MAX_ITEMS:
            raise _wrong_count(f"{len(items):,}")

        return items

    def read(self, req: falcon.Request) -> bytes:
        """The bytes of the body; raises `TooLarge` above the limit."""
        if (coding := req.get_header("Content-Encoding")) and coding.lower() != "identity":
            raise UnsupportedMedia(f"Content-Encoding {coding} is not accepted: send the body uncompressed.")
        if (req.content_length or 0) > self._limit:
            raise self._too_large()
        data: bytes = (
            req.bounded_stream.read(self._limit + 1) if req.content_length else req.stream.read(self._limit + 1)
        )
        if len(data) > self._limit:
            raise self._too_large()

        return data

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is too large: at most {format_size(self._limit)} (RELAY_MAX_BODY).")


def content_type(req: falcon.Request) -> str:
    """The media type; the same one in several lines, which a server joins with commas, is one."""
    media_type = (req.content_type or "").partition(";")[0].lower()
    kinds = {kind.strip() for kind in media_type.split(",")}

    return kinds.pop() if len(kinds) == 1 else media_type.strip()


def _form_fields(data: bytes) -> list[tuple[str, str]]:
    if _is_json(data):
        raise _refused(
            "looks like JSON, but its content type says that it is a form: "
            "add the header Content-Type: application/json (with curl: --json instead of -d)"
        )
    if any(part and b"=" not in part for part in data.split(b"&")):
        raise _refused("has a form field without “=”: inside a value, & must be sent as %26 and % as %25")
    try:
        return parse_qsl(data.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise _refused("is not a form in UTF-8, or has more than 1,000 fields") from None


def _is_json(data: bytes) -> bool:
    """Whether a form is JSON under the wrong content type, as `curl -d` sends it."""
    start = unquote_to_bytes(data[:200].replace(b"+", b" ")).removeprefix(b"\xef\xbb\xbf").lstrip()

    return start.startswith((b"{", b"["))


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest.at("body", problem)


def _wrong_count(count: str) -> InvalidRequest:
    return _refused(f"must have 1 to {MAX_ITEMS:,} jobs, not {count}")
