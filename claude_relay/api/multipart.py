"""Bodies of `multipart/form-data`: text parts are the fields of a form, parts with a file name are its files."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import falcon
from falcon.media.multipart import BodyPart, MultipartForm, MultipartFormHandler, MultipartParseError

from ..core.collections.intake import FIELDS as COLLECTION_FIELDS
from ..core.intake import from_form
from ..core.intake.body import FIELDS
from ..core.text.json_values import safe_quote
from ..errors import InvalidRequest

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = 1_000

_FIRST_STEP = re.compile(r"[^.\[\]]+")
#: A file part of such a name is the text of that field.
_TEXT_FIELDS = {*FIELDS, "template", "variables"} - {"files"}
#: Text fields of other character sets are refused: some of Python's codecs take quadratic time.
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252", "cp1252")


def from_multipart(data: bytes, content_type: str) -> dict[str, Any]:
    """The body that the parts describe, for `parse(…, form=True)`; `InvalidRequest` if they cannot be read."""
    try:
        return _body(_form(data, content_type))
    except UnicodeDecodeError:
        raise _refused("has a part whose headers are not UTF-8") from None
    except MultipartParseError as exc:
        reason = exc.description or ""
        raise _refused(
            f"cannot be read as {MEDIA_TYPE}: "
            + ("it is incomplete or has no such boundary" if "structure" in reason else reason)
        ) from None
    except falcon.HTTPError as exc:
        raise _refused(f"cannot be read as {MEDIA_TYPE}: {exc.description or 'there is no boundary'}") from None


def split_file(data: bytes, content_type: str, name: str) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """The fields of the text parts, and the file part of that name, with its content type."""
    try:
        pairs: list[tuple[str, str]] = []
        file: tuple[str, bytes] | None = None
        misnamed = None
        for part in _form(data, content_type):
            if part.filename and part.name != name and part.name not in COLLECTION_FIELDS:
                misnamed = part.name or ""
            elif part.name == name and file is None:
                file = _table_type(part), part.get_data()
            elif part.name == name:
                raise _refused(f"has two parts {name}: send one table")
            else:
                pairs.append((part.name or "", _text(part, part.name or "body")))
        if file is None and misnamed is not None:
            field = safe_quote(misnamed) or "body"
            raise InvalidRequest.at(field, f"has a file: send the table in a part of the name {name}")
        return from_form(pairs), file
    except UnicodeDecodeError:
        raise _refused("has a part whose headers are not UTF-8") from None
    except (MultipartParseError, falcon.HTTPError) as exc:
        raise _refused(f"cannot be read as {MEDIA_TYPE}: {exc.description or 'there is no boundary'}") from None


def _table_type(part: BodyPart) -> str:
    """The content type of a table; where a client sent a general one, by the name of the file."""
    kind, mark, options = part.content_type.partition(";")
    name = (part.filename or "").lower()
    # A browser on a machine with Excel calls every .csv a file of Excel.
    is_table = name.endswith((".csv", ".tsv", ".txt")) and kind.strip().lower() == "application/vnd.ms-excel"
    if not is_table and kind.strip().lower() not in ("application/octet-stream", "text/plain"):
        return part.content_type

    return "application/x-ndjson" if name.endswith((".ndjson", ".jsonl")) else f"text/csv{mark}{options}"


def _form(data: bytes, content_type: str) -> MultipartForm:
    handler = MultipartFormHandler()
    options = handler.parse_options
    options.max_body_part_count, options.max_body_part_buffer_size = MAX_PARTS, len(data) + 1
    form: MultipartForm = handler.deserialize(io.BytesIO(data), content_type, len(data))

    return form


def _body(form: MultipartForm) -> dict[str, Any]:
    pairs: list[tuple[str, str]] = []
    files: list[dict[str, Any]] = []
    for part in form:
        name, file_name = part.name, part.filename
        if not name:
            raise _refused("has a part without a name")
        first = _FIRST_STEP.match(name)
        if file_name is None or (first and first[0] in _TEXT_FIELDS):
            pairs.append((name, _text(part, name)))
        elif content := part.get_data():
            files.append(_file(part, file_name, content))
        elif file_name:  # without a name it is a file field of a page in which no file was chosen
            files.append({"data": "", "name": _base_name(file_name)})

    body = from_form(pairs)
    if files:
        others = body.get("files") or []
        if not isinstance(others, list):
            raise InvalidRequest.at("files", "is given both as one value and in parts")
        body["files"] = [*others, *files]

    return body


def _file(part: BodyPart, file_name: str, content: bytes) -> dict[str, Any]:
    entry = {"data": base64.b64encode(content).decode("ascii")}
    if name := _base_name(file_name):
        entry["name"] = name
    # A part without a type has the default of forms, text/plain, which says nothing of a file.
    if (media_type := part.content_type.partition(";")[0].strip().lower()) != "text/plain":
        entry["mediaType"] = media_type

    return entry


def _base_name(file_name: str) -> str:
    """The last component: some clients send the path."""
    return re.split(r"[/\\]", file_name)[-1]


def _text(part: BodyPart, name: str) -> str:
    charset = falcon.parse_header(part.content_type)[1].get("charset", "utf-8").lower()
    try:
        if charset not in _CHARSETS:
            raise LookupError
        return part.get_data().decode(charset).removeprefix("\ufeff")
    except (LookupError, ValueError):
        problem = f"is not text in {'UTF-8' if charset == 'utf-8' else safe_quote(charset)}: send it as UTF-8"
        raise InvalidRequest.at(safe_quote(name), problem) from None


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest.at("body", problem)
