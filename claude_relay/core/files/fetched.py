"""Files that a job names by their address: what came of one GET, and what that means for the job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ..jobs.failure import ErrorType, Failure, Remedy
from .types import SNIFF_BYTES, sniff, type_problem

#: All files of one job together, in bytes: a request to Claude may have 32 MB, and base64 makes four bytes of three.
MOST_BYTES = 24_000_000

_LONGEST_NAME = 255


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """What one GET came to: a status with the body, or an error in words and no status."""

    host: str = ""
    status: int | None = None
    data: bytes | bytearray = field(default=b"", repr=False)
    complete: bool = False  # the data was seen to its end
    too_large: bool = False
    encoding: str | None = None
    retry_after: float | None = None
    error: str | None = None
    blocked: bool = False  # the guard refused the address
    timed_out: bool = False  # the time was up
    exhausted: bool = False  # this machine lacked what it takes: a thread, a file handle, memory


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A file that was fetched and kept, as the record shows it. `number`: its place among the job's files, from 0."""

    number: int
    media_type: str
    size: int
    sha256: str
    at: float
    name: str | None = None


def classify_fetch(fetched: FetchResult, file: Mapping[str, Any], *, number: int, now: float) -> FetchedFile | Failure:
    """
    What was fetched, as it is kept; or why the try has failed.

    Nothing was sent to Claude in either case: what may pass (a server in trouble, a broken line) is tried again, the
    rest fails with a sentence for whoever wrote the address.
    """
    at = f"files[{number}]"
    if fetched.blocked:
        return _refused(f"{at}.url: {fetched.error}", reason="file_blocked")
    if fetched.exhausted:
        # Nobody's fault out there: it waits, and no try is counted.
        message = f"this machine could not fetch {at}: {fetched.error}"
        return Failure(type=ErrorType.INTERNAL, message=message, remedy=Remedy.THROTTLE, sent=False, reason="exhausted")
    if fetched.status is None:
        return _again(f"{at} could not be fetched: {fetched.error}", fetched, reason="file_unreachable")
    if fault := _status_fault(fetched.host, fetched.status):
        sentence = f"{at} could not be fetched: {fault}"
        reason = f"file_http_{fetched.status}"
        passing = fetched.status in (408, 425, 429) or fetched.status >= 500
        return _again(sentence, fetched, reason=reason) if passing else _refused(sentence, reason=reason)
    if fetched.too_large:
        sentence = f"{at} is too large: all files of a job together may have {MOST_BYTES // 1_000_000} MB"
        return _refused(sentence, reason="file_too_large", kind=ErrorType.TOO_LARGE)
    if fetched.encoding and fetched.encoding.strip().lower() not in ("", "identity"):
        sentence = f"{at} could not be read: {fetched.host} sends it compressed, though it was asked for plain"
        return _refused(sentence, reason="file_encoded")
    if not fetched.complete:
        how = "took too long to send it" if fetched.timed_out else "broke off in the middle of it"
        return _again(f"{at} could not be fetched: {fetched.host} {how}", fetched, reason="file_cut")

    found = sniff(bytes(fetched.data[:SNIFF_BYTES]))
    problem = type_problem(found, file.get("mediaType"), empty=not fetched.data)
    if problem or found is None:
        return _refused(f"{at} {problem}{_page_hint(fetched)}", reason="file_type")

    return FetchedFile(
        number=number,
        media_type=found,
        size=len(fetched.data),
        sha256=hashlib.sha256(fetched.data).hexdigest(),
        at=now,
        name=file.get("name") or file_name(file["url"]),
    )


def file_name(url: str) -> str | None:
    """What the file is called, by the last part of its address; None where that says nothing."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])

    return name if name and "." in name and name.isprintable() and len(name) <= _LONGEST_NAME else None


def _status_fault(host: str, status: int) -> str | None:
    if 200 <= status < 300:
        return None
    answered = f"{host} answered {status}"
    if 300 <= status < 400:
        return f"{answered}, a redirect, and redirects are never followed: give the address where it ends"
    if status in (401, 403):
        return f"{answered}: the address must be open to whoever knows it, or send the file in data"
    if status in (404, 410):
        return f"{answered}: there is no file at this address (any more)"

    return answered


def _page_hint(fetched: FetchResult) -> str:
    start = bytes(fetched.data[:SNIFF_BYTES]).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "; it is a web page: give the address of the file itself, not of a page that shows it"

    return ""


def _again(message: str, fetched: FetchResult, *, reason: str) -> Failure:
    kind = ErrorType.TIMEOUT if fetched.timed_out else ErrorType.UPSTREAM
    return Failure(
        type=kind, message=message, remedy=Remedy.RETRY, retry_after=fetched.retry_after, sent=False, reason=reason
    )


def _refused(message: str, *, reason: str, kind: ErrorType = ErrorType.INVALID_REQUEST) -> Failure:
    return Failure(type=kind, message=message, remedy=Remedy.FAIL, sent=False, reason=reason)
