"""Readable text of replies and errors: an excerpt that is safe to print, and a sentence per error."""

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

#: Bytes of a reply that are stored.
EXCERPT = 2048

_MAX_WAIT = 86_400.0
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


class UnsendableHeader(ValueError):
    """A header of the caller's that no request can carry."""


def excerpt(body: bytes, encoding: str | None = None) -> str:
    """The first 2 kB as printable text, without characters that move a cursor or break a log."""
    if encoding and encoding.strip().lower() != "identity":
        return "(compressed, though it was asked for plain)"

    text = body[:EXCERPT].decode("utf-8", "replace")
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds to wait, parsed from seconds or a date and limited to one day; None for an invalid value."""
    if not value or len(value) > 64:
        return None
    value = value.strip()  # also of U+001C to U+001F, which `float` does not strip
    if _SECONDS.fullmatch(value):
        return min(float(value), _MAX_WAIT)
    try:
        parsed = parsedate_to_datetime(value)
        wait = (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None

    return min(max(wait, 0.0), _MAX_WAIT)


def describe(host: str, exc: BaseException, method: str = "POST") -> str:
    """
    Describe a failed request to `host` in one sentence.

    Never includes the exception's own text, which contains the URL, except for the TLS verdict on a certificate.
    """
    chain = list(_causes(exc, set()))[::-1]  # the innermost first: it is the most specific
    for kind, words in _WORDS:
        match = next((cause for cause in chain if isinstance(cause, kind)), None)
        if match is not None:
            return f"{host} {words}{_detail(match)}"

    return f"the {method} to {host} failed unexpectedly ({type(exc).__name__})"


def is_local_fault(exc: BaseException) -> bool:
    """Whether the fault is, or may be, on this machine: it is then no evidence against the receiver."""
    for cause in _causes(exc, set()):
        if isinstance(cause, socket.gaierror):
            return cause.errno != socket.EAI_NONAME
        if isinstance(cause, OSError) and cause.errno in _LOCAL_ERRNOS:
            return True

    if isinstance(exc, http.client.InvalidURL):
        return True

    return not isinstance(exc, OSError | http.client.HTTPException)


def is_exhausted(exc: BaseException) -> bool:
    """Whether this machine was out of file handles or memory, which no receiver can cause."""
    return any(
        isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _EXHAUSTED)
        for cause in _causes(exc, set())
    )


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

#: Errors of this machine: no socket, no memory, no network.
_LOCAL_ERRNOS = _EXHAUSTED | {errno.ENETDOWN, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES}

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "has a TLS certificate that is not valid"),
    (ssl.SSLEOFError, "closed the connection during TLS"),
    (ssl.SSLZeroReturnError, "closed the connection during TLS"),
    (ssl.SSLError, "uses TLS that is not supported here"),
    (socket.gaierror, "could not be looked up"),
    (http.client.RemoteDisconnected, "closed the connection without an answer"),
    (ConnectionRefusedError, "refused the connection"),
    (ConnectionError, "dropped the connection"),
    (TimeoutError, "took too long to connect"),
    (http.client.LineTooLong, "answered with headers that are too long"),
    (http.client.BadStatusLine, "answered with something that is not HTTP"),
    (http.client.InvalidURL, "was not called: the URL cannot be read"),
    (http.client.HTTPException, "answered with too many headers, or something that is not HTTP"),
    (UnsendableHeader, "was not called: one of the webhook's headers cannot be sent"),
    (UnicodeError, "was not called: the URL or a header has characters that cannot be sent"),
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
    """The exception and its causes; libraries wrap by cause, by context and by argument."""
    if id(exc) in seen:
        return
    seen.add(id(exc))
    yield exc
    for inner in (exc.__cause__, exc.__context__, getattr(exc, "reason", None), *exc.args):
        if isinstance(inner, BaseException):
            yield from _causes(inner, seen)
