"""Files that go along: PDFs and images, each known by its first bytes rather than by its name."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from ..files.types import ACCEPTED, ACCEPTED_TEXT, JPEG, PDF, SNIFF_BYTES, sniff, type_problem
from ..text.json_values import safe_quote
from .context import IntakeContext
from .fields import Fields, kind
from .webhook import read_url

MOST_FILES = 20
LONGEST_NAME = 255

#: What tools write when they mean one of the above, or do not know; the latter is as good as nothing.
_ALSO_KNOWN_AS = {"image/jpg": JPEG, "image/pjpeg": JPEG, "application/x-pdf": PDF}
_UNTOLD = ("application/octet-stream", "binary/octet-stream")

_SOURCES = ("data", "url", "fileId")
_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)


def read_files(fields: Fields, context: IntakeContext) -> list[dict[str, Any]]:
    """Each as `{"data" | "url" | "fileId", "mediaType", "name"}`, the data as plain base64."""
    given = fields.array("files")
    if given is None:
        return []
    if len(given) > MOST_FILES:
        fields.problem("files", f"holds {len(given):,} files: at most {MOST_FILES} are taken")
        return []

    files = [_read(entry, fields, f"files[{index}]", context) for index, entry in enumerate(given)]
    fields.clean["files"] = files

    return files


def _read(entry: object, parent: Fields, at: str, context: IntakeContext) -> dict[str, Any]:
    if not isinstance(entry, dict):
        parent.problem(at, f'must be an object such as {{"data": "…", "name": "faktura.pdf"}}: this is {kind(entry)}')
        return {}

    fields = Fields(entry, parent.notes, at=at)
    fields.unknown((*_SOURCES, "mediaType", "name"))
    sources = [name for name in _SOURCES if fields.given(name) is not None]
    if len(sources) != 1:
        both = f", not {' and '.join(sources)}" if sources else ""
        parent.problem(at, f"needs exactly one of {', '.join(_SOURCES)}{both}")
        return {}

    declared = _declared(fields)
    if sources == ["data"]:
        _read_data(fields, declared)
    elif sources == ["url"]:
        read_url(fields, "url", context)
    else:
        fields.name("fileId", _FILE_ID, "the id of a stored file")
    _read_name(fields)

    return fields.clean


def _declared(fields: Fields) -> str | None:
    """The type that was named, where it says anything."""
    text = fields.text("mediaType")
    if text is None:
        return None

    plain = text.partition(";")[0].strip().lower()
    plain = _ALSO_KNOWN_AS.get(plain, plain)
    fields.clean.pop("mediaType")
    if plain in _UNTOLD:
        return None
    if plain not in ACCEPTED_TEXT:
        fields.problem("mediaType", f"is {safe_quote(plain)}, which Claude does not read: {ACCEPTED} taken")
        return None

    fields.clean["mediaType"] = plain
    return plain


def _read_data(fields: Fields, declared: str | None) -> None:
    text = fields.text("data")
    if text is None:
        return

    prefix = _DATA_URL.match(text[:1000].lstrip())
    if prefix and not prefix[2].lower().endswith(";base64"):
        return fields.problem("data", "is a data: address without base64: send the file's bytes as base64")
    if prefix:
        text = text.lstrip()[prefix.end() :]
        declared = declared or _ALSO_KNOWN_AS.get(prefix[1].lower(), prefix[1].lower())
    if fields.notes.form and " " in text.strip():
        return fields.problem("data", "holds spaces: in a form every + of the base64 must be escaped as %2B")

    data = "".join(text.split())
    try:
        start = base64.b64decode(data, validate=True)[:SNIFF_BYTES]
    except (binascii.Error, ValueError):
        return fields.problem("data", _base64_fault(data))

    found = sniff(start)
    problem = type_problem(found, declared if declared in ACCEPTED_TEXT else None, empty=not start)
    if problem:
        return fields.problem("data", problem)

    fields.clean["data"] = data
    fields.clean["mediaType"] = found
    return None


def _base64_fault(data: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", data):
        return "is base64 that was cut off: its length is not a multiple of four"

    return "is not base64: send the file's bytes as base64 (in Make: {{base64(1.data)}}), without anything around them"


def _read_name(fields: Fields) -> None:
    name = fields.text("name", longest=LONGEST_NAME)
    if name is not None and not name.isprintable():
        fields.problem("name", "holds line breaks or other control characters")
