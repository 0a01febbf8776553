"""Parsing of `files`: PDFs and images, whose type is determined by their first bytes rather than by their name."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from ..files.types import ACCEPTED, ACCEPTED_TEXT, JPEG, PDF, SNIFF_BYTES, sniff, type_problem
from ..text.json_values import safe_quote
from .fields import Fields, kind
from .webhook import read_url

if TYPE_CHECKING:
    from .context import IntakeContext

MAX_FILES = 20
MAX_NAME = 255

#: Other names that tools use for the accepted types, and names that say nothing, which are ignored.
_TYPE_ALIASES = {"image/jpg": JPEG, "image/pjpeg": JPEG, "application/x-pdf": PDF}
_UNSPECIFIC = ("application/octet-stream", "binary/octet-stream")

_SOURCES = ("data", "url", "fileId")
_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_URL_SAFE = str.maketrans("-_", "+/")
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)


def read_files(fields: Fields, context: IntakeContext) -> list[dict[str, Any]]:
    """The files as `{"data" | "url" | "fileId", "mediaType", "name"}`, with the data as plain base64."""
    given = fields.array("files")
    if given is None:
        return []
    if len(given) > MAX_FILES:
        fields.problem("files", f"has {len(given):,} files: the maximum is {MAX_FILES}")
        return []

    files = [_read(entry, fields, f"files[{index}]", context) for index, entry in enumerate(given)]
    fields.clean["files"] = files

    return files


def _read(entry: object, parent: Fields, at: str, context: IntakeContext) -> dict[str, Any]:
    if not isinstance(entry, dict):
        parent.problem(at, f'must be an object such as {{"data": "…", "name": "faktura.pdf"}}, not {kind(entry)}')
        return {}

    fields = Fields(entry, parent.notes, at=at)
    fields.unknown((*_SOURCES, "mediaType", "name"))
    sources = [name for name in _SOURCES if fields.given(name) is not None]
    if not sources and entry.get("data") == "":
        fields.problem("data", "is an empty file")
        return {}
    if len(sources) != 1:
        both = f", not {' and '.join(sources)}" if sources else ""
        parent.problem(at, f"needs exactly one of {', '.join(_SOURCES)}{both}")
        return {}

    declared = _declared_type(fields)
    if sources == ["data"]:
        _read_data(fields, declared)
    elif sources == ["url"] and "@" in str(entry["url"]).partition("://")[2].partition("/")[0]:
        fields.problem(
            "url", "must not carry a user name or password: send a link that needs none, or the file as data"
        )
    elif sources == ["url"]:
        read_url(fields, "url", context)
    else:
        fields.name("fileId", _FILE_ID, "the id of a stored file")
    _read_name(fields)

    return fields.clean


def _declared_type(fields: Fields) -> str | None:
    """The declared media type, unless it is unspecific."""
    text = fields.string("mediaType")
    if text is None:
        return None

    plain = text.partition(";")[0].strip().lower()
    plain = _TYPE_ALIASES.get(plain, plain)
    fields.clean.pop("mediaType")
    if plain in _UNSPECIFIC:
        return None
    if plain not in ACCEPTED_TEXT:
        fields.problem("mediaType", f"is {safe_quote(plain)}, which Claude does not read: {ACCEPTED} accepted")
        return None

    fields.clean["mediaType"] = plain
    return plain


def _read_data(fields: Fields, declared: str | None) -> None:
    text = fields.string("data")
    if text is None:
        return None

    prefix = _DATA_URL.match(text[:1000].lstrip())
    if prefix and not prefix[2].lower().endswith(";base64"):
        return fields.problem("data", "is a data: URL without base64: send the file's bytes as base64")
    if prefix:
        text = text.lstrip()[prefix.end() :]
        declared = declared or _TYPE_ALIASES.get(prefix[1].lower(), prefix[1].lower())
    if fields.notes.form and " " in text.strip():
        return fields.problem("data", "contains spaces: in a form, escape every + of the base64 as %2B")

    data = _standard_base64("".join(text.split()))
    try:
        start = base64.b64decode(data, validate=True)[:SNIFF_BYTES]
    except (binascii.Error, ValueError):
        return fields.problem("data", _base64_problem(data))

    media_type = sniff(start)
    problem = type_problem(media_type, declared if declared in ACCEPTED_TEXT else None, empty=not start)
    if problem:
        return fields.problem("data", problem)

    fields.clean["data"] = data
    fields.clean["mediaType"] = media_type
    return None


def _standard_base64(data: str) -> str:
    """Base64 in the standard alphabet with its padding; base64url, which has its own and often none, is taken, too."""
    if ("-" in data or "_" in data) and "+" not in data and "/" not in data:
        data = data.translate(_URL_SAFE)
    if "=" not in data and len(data) % 4 in (2, 3):
        data += "=" * (-len(data) % 4)

    return data


def _base64_problem(data: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", data):
        return "is truncated base64: its length is not a multiple of four"

    return "is not base64: send only the file's bytes as base64 (in Make: {{base64(1.data)}})"


def _read_name(fields: Fields) -> None:
    name = fields.string("name", max_length=MAX_NAME)
    if name is not None and not name.isprintable():
        fields.problem("name", "contains line breaks or other control characters")
