"""Regular expression search with a time limit, for patterns of callers that may backtrack exponentially."""

from __future__ import annotations

_TIME_LIMIT = 0.1  # seconds


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text; False also if that takes longer than the time limit."""
    import regex

    try:
        return regex.search(pattern, text, timeout=_TIME_LIMIT, concurrent=True) is not None
    except (TimeoutError, regex.error):
        return False
