"""How a question is put to an engine, and rows become values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..header_encryption import HeaderCipher

Rows = Sequence[Sequence[Any]]
Run = Callable[[str, Sequence[Any]], Rows]


class QueryBase:
    """What every look at the rows works with: a way to run statements, one time for all, and the seal of headers."""

    def __init__(self, run: Run, now: float, seal: HeaderCipher) -> None:
        self._run = run
        self._now = now
        self._seal = seal

    def _value(self, sql: str, args: Sequence[Any]) -> Any:
        found = self._run(sql, args)
        return found[0][0] if found else None


def fetch_one(make: Callable[[Sequence[Any]], Any], found: Rows) -> Any:
    """The first row as a value; None where there is none."""
    return make(found[0]) if found else None


def fetch_all(make: Callable[[Sequence[Any]], Any], found: Rows) -> list[Any]:
    """Every row as a value."""
    return [make(row) for row in found]


def placeholders(values: Collection[Any]) -> str:
    """What stands in `IN (…)` for those values; of none, what is equal to nothing."""
    return ", ".join("?" * len(values)) or "NULL"
