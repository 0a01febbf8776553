"""Identification of repeated requests: the caller's request id, and a hash of the request."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..text.ids import REQUEST_ID

if TYPE_CHECKING:
    from .fields import Fields

REQUEST_ID_RULE = "1 to 128 characters of A-Z a-z 0-9 . _ : - and begin with a letter or digit"

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

#: Characters of a prompt that are encoded at once.
_PIECE = 2**16


def read_request_id(fields: Fields, header: str | None) -> str | None:
    """`requestId`, or the equivalent `Idempotency-Key` header."""
    return read_id(fields, "requestId", REQUEST_ID, REQUEST_ID_RULE, header)


def read_id(fields: Fields, name: str, pattern: re.Pattern[str], rule: str, header: str | None) -> str | None:
    """The id in that field, or the equivalent `Idempotency-Key` header."""
    value = fields.name(name, pattern, rule)
    key = unquoted(header or "")
    if not key:
        return value
    if not pattern.fullmatch(key):
        fields.notes.problem("Idempotency-Key", f"must be {rule}")
    elif value is not None and value != key:
        fields.problem(name, "differs from the Idempotency-Key header: both mean the same, so send only one")

    return key


def unquoted(header: str) -> str:
    """
    The header's value: a quoted string as in the standard, or bare as most clients send it.

    https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
    """
    plain = header.strip()
    if len(plain) < 2 or plain[0] != '"' or plain[-1] != '"':
        return plain

    return plain[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def body_hash(clean: Mapping[str, Any]) -> str:
    """
    A hash of the request without its id, the same for JSON and forms and for any order of fields.

    It covers the caller's own values, not the resolved ones: the same body later, or under other defaults, is a repeat.

    The prompt, which may be megabytes, is hashed as it is; no JSON has the byte before it.
    """
    content = {name: value for name, value in clean.items() if name != "requestId"}
    prompt = content.pop("prompt") if isinstance(content.get("prompt"), str) else None
    digest = hashlib.sha256(_CANONICAL.encode(content).encode())
    if prompt is not None:
        digest.update(b"\0")
        for at in range(0, len(prompt), _PIECE):
            digest.update(prompt[at : at + _PIECE].encode())

    return digest.hexdigest()
