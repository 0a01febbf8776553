"""Queries for lists of jobs, and the paging that both clients share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any, TypeVar

from ...core.lazy_dataclass import dataclass

C = TypeVar("C")
T = TypeVar("T")

#: Jobs in one page.
_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class JobQuery:
    """Filters for a list of jobs; without a `limit` it is complete."""

    status: Sequence[str] = ()
    group: str | None = None
    key: str | None = None
    model: str | None = None
    host: str | None = None
    error: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    dead: bool = False
    unacked: bool = False
    text: str | None = field(default=None, repr=False)
    limit: int | None = 50

    def filters(self) -> dict[str, Any]:
        """The filters by name, without the limit."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "limit"}


def read_pages(read: Callable[[C | None, int], tuple[Sequence[T], C | None]], limit: int | None) -> Iterator[T]:
    """
    Yield up to `limit` items (None: all) of a list that comes in pages.

    `read` takes the cursor of a page, None for the first, and its size; it returns the items and the next cursor, None
    after the last page.
    """
    cursor: C | None = None
    remaining = limit
    while remaining is None or remaining > 0:
        items, cursor = read(cursor, _PAGE if remaining is None else min(_PAGE, remaining))
        yield from items
        if cursor is None:
            return
        remaining = None if remaining is None else remaining - len(items)
