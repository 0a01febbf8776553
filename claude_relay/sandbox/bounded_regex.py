"""Whether a text matches a caller's pattern, found out in time: one that backtracks for ever must stop nobody."""

from __future__ import annotations

_LONGEST = 0.1  # seconds


def found(pattern: str, text: str) -> bool:
    """Whether the pattern is in it; False also where that takes too long to tell."""
    import regex

    try:
        return regex.search(pattern, text, timeout=_LONGEST, concurrent=True) is not None
    except (TimeoutError, regex.error):
        return False
