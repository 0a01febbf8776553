"""The `traceparent` header of W3C Trace Context."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def parse_traceparent(text: str | None) -> str | None:
    """The header's value; None where it is missing or malformed, as the standard has it ignored then."""
    value = (text or "").strip()

    return value if _TRACEPARENT.fullmatch(value) else None
