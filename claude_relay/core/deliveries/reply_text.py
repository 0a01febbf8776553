"""Short text for the last reply of a destination, as alerts and `status` show it."""

from __future__ import annotations


def describe_reply(status: int | None, error: str | None) -> str | None:
    """`it answered 503`, or the error of a POST without an answer."""
    return f"it answered {status}" if status else error
