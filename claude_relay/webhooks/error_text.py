"""What came back, for people: an excerpt that may be printed anywhere, and errors in plain words."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import timezone
from email.utils import parsedate_to_datetime

import requests
import urllib3

#: How much of an answer is kept, in bytes.
EXCERPT = 2048

_LONGEST_WAIT = 86_400.0
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def excerpt(body: bytes, encoding: str | None = None) -> str:
    """The first 2 kB as text that can neither move a cursor nor break a log."""
    if encoding and encoding.strip().lower() != "identity":
        return "(compressed, though it was asked for plain)"

    text = body[:EXCERPT].decode("utf-8", "replace")
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds to wait, from seconds or a date, at most a day; None where nothing sensible is said."""
    if not value or len(value) > 64:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(value)
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None

    return min(max(wait, 0.0), _LONGEST_WAIT)


def describe(host: str, exc: BaseException, method: str = "POST") -> str:
    """
    What went wrong with the request to `host`.

    Never the exception's own text, which has the URL in it, but for what TLS says of a certificate.
    """
    chain = list(_causes(exc, set()))[::-1]  # the innermost first: it knows best
    for kind, words in _WORDS:
        found = next((one for one in chain if isinstance(one, kind)), None)
        if found is not None:
            return f"{host} {words}{_detail(found)}"

    return f"the {method} to {host} failed unexpectedly ({type(exc).__name__})"


def is_local_fault(exc: BaseException) -> bool:
    """Whether the fault is on this side, or may be: then it says nothing of the receiver."""
    for one in _causes(exc, set()):
        if isinstance(one, socket.gaierror):
            return one.errno != socket.EAI_NONAME
        if isinstance(one, OSError) and one.errno in _OURS:
            return True

    if isinstance(exc, requests.exceptions.InvalidHeader | requests.exceptions.InvalidURL):
        return True

    return not isinstance(exc, OSError | http.client.HTTPException | urllib3.exceptions.HTTPError)


def is_exhausted(exc: BaseException) -> bool:
    """Whether this machine had no file handle or memory to spare: nobody out there can bring that about."""
    return any(
        isinstance(one, MemoryError) or (isinstance(one, OSError) and one.errno in _EXHAUSTED)
        for one in _causes(exc, set())
    )


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

#: No socket, no memory, no network on this machine.
_OURS = _EXHAUSTED | {errno.ENETDOWN, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES}

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "has a TLS certificate that is not valid"),
    (ssl.SSLEOFError, "closed the connection during TLS"),
    (ssl.SSLZeroReturnError, "closed the connection during TLS"),
    (ssl.SSLError, "speaks no TLS that is understood here"),
    (socket.gaierror, "could not be looked up"),
    (http.client.RemoteDisconnected, "closed the connection without an answer"),
    (ConnectionRefusedError, "refused the connection"),
    (ConnectionError, "broke the connection off"),
    (TimeoutError, "took too long to connect"),
    (http.client.LineTooLong, "answered with headers that are too long"),
    (http.client.BadStatusLine, "answered with something that is not HTTP"),
    (http.client.HTTPException, "answered with too many headers, or something that is not HTTP"),
    (requests.exceptions.InvalidHeader, "was not called: one of the webhook's headers cannot be sent"),
    (UnicodeError, "was not called: the URL or a header has characters that cannot be sent"),
    (requests.exceptions.InvalidURL, "was not called: the URL cannot be read"),
    (OSError, "could not be reached"),
)


def _detail(exc: BaseException) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f": {exc.verify_message.rstrip('.')}"
    if isinstance(exc, ssl.SSLError):
        return f" ({(exc.reason or 'unknown').lower().replace('_', ' ')})"
    if isinstance(exc, socket.gaierror):
        return ": no such name" if exc.errno == socket.EAI_NONAME else ": its name servers gave no answer"
    if type(exc) is OSError and exc.errno:
        return f": {os.strerror(exc.errno).lower()}"

    return ""


def _causes(exc: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """The exception and all it came of: libraries wrap by cause, by context and by argument."""
    if id(exc) in seen:
        return
    seen.add(id(exc))
    yield exc
    for inner in (exc.__cause__, exc.__context__, getattr(exc, "reason", None), *exc.args):
        if isinstance(inner, BaseException):
            yield from _causes(inner, seen)
