"""The note that stored content was damaged, which processes share until `doctor --deep` has checked everything."""

from __future__ import annotations

from typing import Any

#: The shared value with the note.
KEY = "damage"


def add(note: Any, what: str, *, now: float) -> dict[str, Any]:
    """The note with another case. It keeps the first one, and counts the others."""
    if not isinstance(note, dict):
        return {"since": now, "what": what, "count": 1}

    return {**note, "count": note.get("count", 0) + 1}
