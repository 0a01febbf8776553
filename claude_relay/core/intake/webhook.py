"""Validation of callback URLs and headers: well-formed and unambiguous."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..text.json_values import safe_quote
from .fields import Fields, kind

if TYPE_CHECKING:
    from .context import IntakeContext

MAX_HEADERS = 10
MAX_HEADER = 4096

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")

#: Headers that the sender sets itself or never sends, and why. Callers' values are refused here, not dropped later.
SENDER_HEADERS = {
    **dict.fromkeys(
        (
            "connection",
            "expect",
            "http2-settings",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        "belongs to the connection itself",
    ),
    **dict.fromkeys(("content-length", "content-type", "content-encoding"), "describes the body, which is always JSON"),
    "host": "is taken from the URL",
    **dict.fromkeys(("accept-encoding", "user-agent"), "describes the relay itself"),
}
#: Headers that callers may not set.
RESERVED = {
    **SENDER_HEADERS,
    **dict.fromkeys(("webhook-id", "webhook-timestamp", "webhook-signature"), "is the relay's own signature"),
}


def read_url(fields: Fields, name: str, context: IntakeContext) -> str | None:
    """The URL in that field; `check_url` decides whether it may be called."""
    text = fields.string(name)
    if text is None:
        return None

    problem = context.check_url(text)
    if problem:
        fields.problem(name, problem)
        return None

    return text


def read_headers(fields: Fields) -> dict[str, str]:
    """The headers to send with the callback, by their names as written."""
    given = fields.object("webhookHeaders")
    if given is None:
        return {}
    if len(given) > MAX_HEADERS:
        fields.problem("webhookHeaders", f"has {len(given):,} headers: the maximum is {MAX_HEADERS}")
        return {}

    headers: dict[str, str] = {}
    at = Fields(given, fields.notes, at="webhookHeaders")
    for name in given:
        value = at.given(name)
        problem = _name_problem(name) or (None if value is None else _value_problem(value))
        if not problem and name.lower() in (other.lower() for other in headers):
            problem = "is a duplicate header name (case-insensitive)"
        if problem:
            at.problem(safe_quote(name) or "(no name)", problem)
        elif value is not None:
            headers[name] = value.strip(" \t")

    fields.clean["webhookHeaders"] = headers
    return headers


def _name_problem(name: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is not a header name: use letters, digits and dashes, such as x-make-apikey"
    reason = RESERVED.get(name.lower())

    return f"cannot be set: it {reason}" if reason else None


def _value_problem(value: object) -> str | None:
    """The problem with a header's value, which is never shown: it is often a key."""
    if not isinstance(value, str):
        return f"must be a string in quotes, not {kind(value)}"
    if len(value) > MAX_HEADER:
        return f"is too long for a header: the maximum is {MAX_HEADER:,} characters"
    if any((char < " " and char != "\t") or "\x7f" <= char <= "\x9f" for char in value):
        return "must be one line, without line breaks or other control characters"

    return "contains characters that a header cannot carry: use ASCII characters only" if max(value) > "ÿ" else None
