"""Files that the sandbox stores, and the multipart form that uploads one."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

from claude_relay.sandbox.problem import ApiError, invalid

SHORTEST, LONGEST = 3600, 7_776_000
_MOST_BYTES = 256 * 1024 * 1024
_PAGE, _LARGEST_PAGE = 20, 1000


@dataclass(frozen=True, kw_only=True)
class File:
    """One file, with its bytes."""

    id: str
    name: str
    media_type: str
    data: bytes = field(repr=False)
    created_at: float
    expires_at: float | None = None

    def info(self) -> dict[str, Any]:
        """The JSON of `GET /v1/files/{id}`."""
        return {
            "type": "file",
            "id": self.id,
            "filename": self.name,
            "mime_type": self.media_type,
            "size_bytes": len(self.data),
            "created_at": _when(self.created_at),
            "expires_at": None if self.expires_at is None else _when(self.expires_at),
            "downloadable": False,
        }


class Files:
    """Files in memory, thread-safe and bounded: the oldest are dropped first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, File] = OrderedDict()

    def add(self, form: Mapping[str, tuple[str, str, bytes]], now: float) -> File:
        """Store the file of a form."""
        if "file" not in form:
            raise invalid("file", "Field required")
        name, media_type, data = form["file"]
        if not data:
            raise invalid("file", "must not be empty")
        file = File(
            id=f"file_sandbox_{uuid.uuid4().hex[:20]}",
            name=name.replace("\\", "/").rpartition("/")[2] or "unnamed",
            media_type=media_type or "application/octet-stream",
            data=data,
            created_at=now,
            expires_at=_expiry(form, now),
        )
        with self._lock:
            self._files[file.id] = file
            while len(self._files) > 1 and sum(len(stored.data) for stored in self._files.values()) > _MOST_BYTES:
                self._files.popitem(last=False)

        return file

    def get(self, file_id: str, now: float) -> File:
        """A stored file; raises a 404 if there is none, or it has expired."""
        with self._lock:
            file = self._files.get(file_id)
        if file is None:
            raise ApiError(404, f"file {file_id[:60]} is not known")
        if file.expires_at is not None and file.expires_at <= now:
            raise ApiError(404, f"file {file_id[:60]} has expired", code="file_expired")

        return file

    def delete(self, file_id: str, now: float) -> dict[str, Any]:
        """Delete a file at once."""
        self.get(file_id, now)
        with self._lock:
            self._files.pop(file_id, None)

        return {"type": "file_deleted", "id": file_id}

    def page(self, query: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """`GET /v1/files`: newest first; or the files named by `ids`."""
        with self._lock:
            rows = list(reversed(self._files.values()))
        wanted = {file_id for name in ("ids", "ids[]") for text in query.get(name, ()) for file_id in text.split(",")}
        if wanted:
            return {"data": [file.info() for file in rows if file.id in wanted], "next_page": None}
        text = query.get("limit", (str(_PAGE),))[0]
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _LARGEST_PAGE:
            raise invalid("limit", f"must be a whole number from 1 to {_LARGEST_PAGE}")
        after = query.get("page", ("",))[0].removeprefix("page_")
        start = next((index + 1 for index, file in enumerate(rows) if file.id == after), 0)
        chosen = rows[start : start + int(text)]
        more = len(rows) > start + len(chosen)

        return {"data": [file.info() for file in chosen], "next_page": f"page_{chosen[-1].id}" if more else None}


def read_form(body: bytes, content_type: str) -> dict[str, tuple[str, str, bytes]]:
    """The parts of a multipart form by name: filename, type, and bytes."""
    kind = _headers(f"Content-Type: {content_type}".encode("latin-1", "replace"))
    boundary = kind.get_boundary()
    if kind.get_content_type() != "multipart/form-data" or not boundary:
        raise ApiError(400, "Content-Type: must be multipart/form-data with its boundary.")
    form = {}
    # The first piece precedes the first boundary; the last one begins with the two dashes of the end.
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        headers = _headers(head.strip())
        name = headers.get_param("name", header="content-disposition")
        if isinstance(name, str):
            form[name] = (headers.get_filename() or "", headers.get_content_type(), data)

    return form


def _headers(lines: bytes) -> Message:
    return BytesHeaderParser().parsebytes(lines + b"\r\n\r\n")


def _expiry(form: Mapping[str, tuple[str, str, bytes]], now: float) -> float | None:
    if "expires_in_seconds" not in form:
        return None
    text = form["expires_in_seconds"][2].decode("latin-1").strip()
    if not text.isascii() or not text.isdigit() or not SHORTEST <= int(text[:9]) <= LONGEST:
        raise invalid("expires_in_seconds", f"must be between {SHORTEST} and {LONGEST}")

    return now + int(text)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
