"""
The look-ups of a group in few statements: those that differ in their values only are made by one.

Each statement gives up the interpreter lock and must win it back from dozens of threads (*measured*, 16 connections
with ids of their own: 32 statements a group took a tenth of the CPU of its submits).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..sql.lookahead import Lookup
from ..sql.query import Rows, Run

#: The most in one statement: SQLite's driver keeps prepared statements of up to 16 KiB only.
_TOGETHER = 16


def look_up(run: Run, lookups: Sequence[Lookup], value: Callable[[Any], Any]) -> Sequence[Rows]:
    """The rows of each look-up, in their order. `value` gives what to send for an argument."""
    places: dict[str, list[int]] = {}
    for place, (sql, _) in enumerate(lookups):
        places.setdefault(sql, []).append(place)
    found: list[list[Any]] = [[] for _ in lookups]
    for sql, all_places in places.items():
        for start in range(0, len(all_places), _TOGETHER):
            some = all_places[start : start + _TOGETHER]
            args = [value(each) for place in some for each in lookups[place][1]]
            for row in run(_compound(sql, len(some)), args):
                found[some[row[0]]].append(row[1:])

    return found


@functools.lru_cache(maxsize=1024)
def _compound(sql: str, count: int) -> str:
    """The statement `count` times; its rows begin with the number of the one that they belong to."""
    return " UNION ALL ".join(f"SELECT {number}, * FROM ({sql})" for number in range(count))
