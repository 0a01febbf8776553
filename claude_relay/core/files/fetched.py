"""Files that a job gives by URL: the result of a fetch, and its meaning for the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import unquote, urlsplit

from ..digests import sha256
from ..jobs.failure import ErrorType, Failure, Remedy
from ..lazy_dataclass import dataclass
from .types import SNIFF_BYTES, sniff, type_problem

#: Maximum for all files of one job, in bytes: a request to Claude may have 32 MB, and base64 adds a third.
MOST_BYTES = 24_000_000

_MAX_NAME = 255


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """The result of one GET: a status with the body, or an error message without a status."""

    host: str = ""
    status: int | None = None
    data: bytes | bytearray = field(default=b"", repr=False)
    complete: bool = False  # the data was received to its end
    too_large: bool = False
    encoding: str | None = None
    retry_after: float | None = None
    error: str | None = None
    blocked: bool = False  # the SSRF guard refused the URL
    timed_out: bool = False  # the time limit was exceeded
    exhausted: bool = False  # this machine lacked a resource: a thread, a file handle, memory


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A file that was fetched and kept, as shown in job details; `number` is its index in `files`."""

    number: int
    media_type: str
    size: int
    sha256: str
    at: float
    name: str | None = None


def classify_fetch(fetched: FetchResult, file: Mapping[str, Any], *, number: int, now: float) -> FetchedFile | Failure:
    """
    The fetched file to keep, or the failure of the attempt.

    Nothing was sent to Claude in either case: temporary errors (a failing server, a broken connection) are retried, all
    others fail with a message for the author of the URL.
    """
    at = f"files[{number}]"
    if fetched.blocked:
        return _refused(f"{at}.url: {fetched.error}", reason="file_blocked")
    if fetched.exhausted:
        # Not the remote server's fault: the job waits, and no attempt is counted.
        message = f"this machine could not fetch {at}: {fetched.error}"
        return Failure(type=ErrorType.INTERNAL, message=message, remedy=Remedy.THROTTLE, sent=False, reason="exhausted")
    if fetched.status is None:
        return _retry(f"{at} could not be fetched: {fetched.error}", fetched, reason="file_unreachable")
    if problem := _status_problem(fetched.host, fetched.status):
        message = f"{at} could not be fetched: {problem}"
        reason = f"file_http_{fetched.status}"
        temporary = fetched.status in (408, 425, 429) or fetched.status >= 500
        return _retry(message, fetched, reason=reason) if temporary else _refused(message, reason=reason)
    if fetched.too_large:
        message = f"{at} is too large: the maximum for all files of a job is {MOST_BYTES // 1_000_000} MB"
        return _refused(message, reason="file_too_large", kind=ErrorType.TOO_LARGE)
    if fetched.encoding and fetched.encoding.strip().lower() not in ("", "identity"):
        message = f"{at} could not be read: {fetched.host} sends it compressed, although that was not requested"
        return _refused(message, reason="file_encoded")
    if not fetched.complete:
        how = "took too long to send it" if fetched.timed_out else "closed the connection in the middle of it"
        return _retry(f"{at} could not be fetched: {fetched.host} {how}", fetched, reason="file_cut")

    media_type = sniff(bytes(fetched.data[:SNIFF_BYTES]))
    problem = type_problem(media_type, file.get("mediaType"), empty=not fetched.data)
    if problem or media_type is None:
        return _refused(f"{at} {problem}{_page_hint(fetched)}", reason="file_type")

    return FetchedFile(
        number=number,
        media_type=media_type,
        size=len(fetched.data),
        sha256=sha256(fetched.data).hex(),
        at=now,
        name=file.get("name") or file_name(file["url"]),
    )


def file_name(url: str) -> str | None:
    """The file name from the last part of the URL; None if that is no file name."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])

    return name if name and "." in name and name.isprintable() and len(name) <= _MAX_NAME else None


def _status_problem(host: str, status: int) -> str | None:
    if 200 <= status < 300:
        return None
    answered = f"{host} answered {status}"
    if 300 <= status < 400:
        return f"{answered}, a redirect, and redirects are never followed: use the URL that it leads to"
    if status in (401, 403):
        return f"{answered}: the URL must be readable without a login; otherwise send the file in data"
    if status in (404, 410):
        return f"{answered}: there is no file at this URL (any more)"

    return answered


def _page_hint(fetched: FetchResult) -> str:
    start = bytes(fetched.data[:SNIFF_BYTES]).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "; it is a web page: use the URL of the file itself, not of a page that shows it"

    return ""


def _retry(message: str, fetched: FetchResult, *, reason: str) -> Failure:
    kind = ErrorType.TIMEOUT if fetched.timed_out else ErrorType.UPSTREAM
    return Failure(
        type=kind, message=message, remedy=Remedy.RETRY, retry_after=fetched.retry_after, sent=False, reason=reason
    )


def _refused(message: str, *, reason: str, kind: ErrorType = ErrorType.INVALID_REQUEST) -> Failure:
    return Failure(type=kind, message=message, remedy=Remedy.FAIL, sent=False, reason=reason)
