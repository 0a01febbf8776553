"""Validation of callback URLs and headers: well-formed and unambiguous."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..text.json_values import safe_quote
from .context import IntakeContext
from .fields import Fields, kind

MAX_URL = 2048
MAX_HEADERS = 10
MAX_HEADER = 4096

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
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
    """An http(s) URL that may be called, as far as can be checked without the network."""
    text = fields.string(name)
    if text is None:
        return None

    problem = url_problem(text) or context.check_url(text)
    if problem:
        fields.problem(name, problem)
        return None

    return text


def url_problem(text: str) -> str | None:
    """The problem with `text` as a URL to call, or None."""
    if len(text) > MAX_URL:
        return f"is too long for a URL: {len(text):,} characters, the maximum is {MAX_URL:,}"
    if any(char.isspace() or not char.isprintable() for char in text):
        return "must be a URL without spaces, line breaks or invisible characters: check its end"
    if "\\" in text:
        return "must not contain a backslash"
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "is not a valid URL: check the part after https:// (brackets, the port)"
    if parts.scheme not in ("http", "https") or not text.lower().startswith(f"{parts.scheme}://"):
        return "must begin with https:// or http://"
    if "@" in parts.netloc:
        return "must not contain a user name or password: use webhookHeaders for a key"
    if not host:
        return "has no host: it should look like https://hook.eu1.make.com/…"
    if port == 0 or parts.netloc.endswith(":"):
        return "has no valid port after its colon"

    return None if _is_host(host) else "has an invalid host name: check its dots, dashes and characters"


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


def _is_host(host: str) -> bool:
    if ":" in host:
        return True  # urlsplit has checked the brackets; the SSRF guard parses the IP address
    if not host.isascii():
        return all(host.rstrip(".").split("."))  # an internationalised name, which the resolver checks

    return len(host) <= 253 and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))


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
