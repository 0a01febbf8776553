"""
Statements that save the driver's time, and those that would cost its memory.

The look-ups of a group that differ in their values only are made by one. Each statement gives up the interpreter lock
and must win it back from dozens of threads: sixteen submits with ids of their own made 32 of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sql.lookahead import Lookup
    from ..sql.query import Rows, Run

#: The most in one statement: SQLite's driver keeps prepared statements of up to 16 KiB only.
_TOGETHER = 16


#: The most characters and bytes that stay with a prepared statement: sixteen jobs of 64 KiB, for which preparing one
#: again would cost a tenth of their CPU.
_SMALL = 1_200_000


def may_keep(values: Iterable[Any]) -> bool:
    """
    Whether the driver may keep the prepared statement.

    Until it is used again it keeps the values, too: a body of 32 MiB for each number of jobs in a group.
    """
    return sum([len(value) for value in values if isinstance(value, (str, bytes, memoryview))]) <= _SMALL


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
