"""Pages of a list with cursors in both directions, as in the lists of Anthropic's API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from claude_relay.sandbox.problem import invalid


class Identified(Protocol):
    """An item of a list."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Identified)


def paged(
    rows: Sequence[T], query: Mapping[str, Sequence[str]], *, show: Callable[[T], Mapping[str, Any]]
) -> dict[str, Any]:
    """The page of rows after or before a cursor, or the first page."""
    limit = _limit(query)
    ids = [row.id for row in rows]
    if "after_id" in query:
        start = _place(ids, "after_id", query["after_id"][0]) + 1
        chosen, more = rows[start : start + limit], len(rows) > start + limit
    elif "before_id" in query:
        end = _place(ids, "before_id", query["before_id"][0])
        chosen, more = rows[max(0, end - limit) : end], end > limit
    else:
        chosen, more = rows[:limit], len(rows) > limit

    return {
        "data": [show(row) for row in chosen],
        "has_more": more,
        "first_id": chosen[0].id if chosen else None,
        "last_id": chosen[-1].id if chosen else None,
    }


def _limit(query: Mapping[str, Sequence[str]]) -> int:
    text = query.get("limit", ("20",))[0]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 1000:
        raise invalid("limit", "must be a whole number from 1 to 1000")
    return int(text)


def _place(ids: Sequence[str], field: str, value: str) -> int:
    if value not in ids:
        raise invalid(field, f"{value[:100]} is not in this list")
    return ids.index(value)
