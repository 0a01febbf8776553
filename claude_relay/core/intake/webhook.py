"""Addresses and headers of callbacks: well-formed, and unable to say anything but what they seem to."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..text.json_values import safe_quote
from .context import IntakeContext
from .fields import Fields, kind

LONGEST_URL = 2048
MOST_HEADERS = 10
LONGEST_HEADER = 4096

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")

#: Headers that the sender sets by itself or not at all, and why. A caller's are refused at the door, not dropped later.
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
    "host": "is taken from the address",
    **dict.fromkeys(("accept-encoding", "user-agent"), "says what the relay is and takes"),
}
#: Those that a caller may not set.
RESERVED = {
    **SENDER_HEADERS,
    **dict.fromkeys(("webhook-id", "webhook-timestamp", "webhook-signature"), "is the relay's own signature"),
}


def read_url(fields: Fields, name: str, context: IntakeContext) -> str | None:
    """An http(s) address that may be called, as far as can be said without asking the network."""
    text = fields.text(name)
    if text is None:
        return None

    problem = url_problem(text) or context.check_url(text)
    if problem:
        fields.problem(name, problem)
        return None

    return text


def url_problem(text: str) -> str | None:
    """What keeps `text` from being an address that can be called; None where nothing does."""
    if len(text) > LONGEST_URL:
        return f"is too long for an address: at most {LONGEST_URL:,} characters, this has {len(text):,}"
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        return "must be an address without spaces, line breaks or invisible characters: is one at its end?"
    if "\\" in text:
        return "must not contain a backslash"
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "is not an address that can be read: look at the part after https:// (brackets, the port)"
    if parts.scheme not in ("http", "https") or not text.lower().startswith(f"{parts.scheme}://"):
        return "must begin with https:// or http://"
    if "@" in parts.netloc:
        return "must not carry a user name or password: put a key into webhookHeaders instead"
    if not host:
        return "names no host: it should look like https://hook.eu1.make.com/…"
    if port == 0 or parts.netloc.endswith(":"):
        return "has no usable port after its colon"

    return None if _is_host(host) else "has a host name that cannot exist: look for a dot, dash or letter too many"


def read_headers(fields: Fields) -> dict[str, str]:
    """What is sent along with the callback, by its name as written."""
    given = fields.object("webhookHeaders")
    if given is None:
        return {}
    if len(given) > MOST_HEADERS:
        fields.problem("webhookHeaders", f"holds {len(given):,} headers: at most {MOST_HEADERS} are taken")
        return {}

    headers: dict[str, str] = {}
    at = Fields(given, fields.notes, at="webhookHeaders")
    for name in given:
        value = at.given(name)
        problem = _name_fault(name) or (None if value is None else _value_fault(value))
        if not problem and name.lower() in (other.lower() for other in headers):
            problem = "is given twice, in different letters; which one is meant?"
        if problem:
            at.problem(safe_quote(name) or "(no name)", problem)
        elif value is not None:
            headers[name] = value.strip(" \t")

    fields.clean["webhookHeaders"] = headers
    return headers


def _is_host(host: str) -> bool:
    if ":" in host:
        return True  # urlsplit has read the brackets; the guard reads the address
    if not host.isascii():
        return all(host.rstrip(".").split("."))  # a name in its own script; the resolver's business

    return len(host) <= 253 and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))


def _name_fault(name: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is not a header name: letters, digits and dashes, such as x-make-apikey"
    reason = RESERVED.get(name.lower())

    return f"cannot be set: it {reason}" if reason else None


def _value_fault(value: object) -> str | None:
    """Never shown, whatever it is: it is a key as often as not."""
    if not isinstance(value, str):
        return f"must be a text in quotes: this is {kind(value)}"
    if len(value) > LONGEST_HEADER:
        return f"is too long for a header: at most {LONGEST_HEADER:,} characters"
    if any((letter < " " and letter != "\t") or "\x7f" <= letter <= "\x9f" for letter in value):
        return "must be one line, without line breaks or other control characters"

    return (
        "holds letters that a header cannot carry: plain letters, digits and signs only" if max(value) > "ÿ" else None
    )
