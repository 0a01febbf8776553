"""JSON as UTF-8 bytes, without a second copy of a long text."""

from __future__ import annotations

import io
import json
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
#: Characters of a text that is encoded piece by piece.
LONG = 2**20
_PIECE = 2**16


def encode(value: Any) -> bytes:
    """
    JSON without escapes, keys in the order given; half a surrogate pair becomes a question mark.

    A long text at the top level of an object is encoded piece by piece: as a whole it would be in memory three times.
    """
    if not isinstance(value, dict) or not any(map(_is_long, value.values())):
        return _ENCODER.encode(value).encode("utf-8", "replace")

    written = io.BytesIO()
    separator = b"{"
    for name, member in value.items():
        written.write(separator + encode(name) + b":")
        separator = b","
        if _is_long(member):
            written.write(b'"')
            for at in range(0, len(member), _PIECE):
                written.write(encode(member[at : at + _PIECE])[1:-1])
            written.write(b'"')
        else:
            written.write(encode(member))
    written.write(b"}")

    return written.getvalue()


def _is_long(value: object) -> bool:
    return isinstance(value, str) and len(value) > LONG
