"""The texts of messages with several statements: one round trip, in which the first error ends the rest."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..sql.lookahead import Lookup, is_time
from ..sql.query import Row, Rows

Merge = Callable[[str, Sequence[Any]], str]

_TIME_SETTING = "relay.now"
#: The time of the transaction, in a look-up that is sent before it is known here.
_NOW = f"current_setting('{_TIME_SETTING}')::float8"
_PARAMETER = re.compile(r"'(?:[^']|'')*'|\?")


def begin_time(clock: Callable[[], float] | None) -> str:
    """The statement that sets the time of the transaction and returns it; without a `clock` that is the server's."""
    time = "extract(epoch FROM clock_timestamp())::float8" if clock is None else repr(clock())

    return f"SELECT set_config('{_TIME_SETTING}', ({time})::text, true)"


def is_guarded(sql: str) -> bool:
    """Whether it is an UPDATE of one row that is a conflict if it misses it (`sql.query.QueryBase`)."""
    return sql.rstrip().endswith("RETURNING 1")


def guard(statement: str) -> str:
    """The statement so that the server itself ends the transaction if no row is found: by a division by zero."""
    return f"WITH moved AS ({statement}) SELECT 1 / count(*) FROM moved"


class Lookups:
    """Look-ups as few statements: those that differ only in their values become one."""

    def __init__(self, lookups: Sequence[Lookup], merge: Merge) -> None:
        self._lookups = lookups
        self._places: list[list[int]] = []  # for each statement, the look-ups that it answers
        self.statements: list[str] = []
        alike: dict[str, list[int]] = {}
        for place, (sql, args) in enumerate(lookups):
            if args and "LIMIT ?" not in sql:  # a limit must be one value for all
                alike.setdefault(sql, []).append(place)
            else:
                self._add([place], merge)
        for places in alike.values():
            self._add(places, merge)

    def rows(self, answers: Sequence[Rows]) -> Sequence[Rows]:
        """The rows of each look-up, from those of each statement."""
        rows: list[list[Row]] = [[] for _ in self._lookups]
        for places, answer in zip(self._places, answers, strict=True):
            if len(places) == 1:
                rows[places[0]].extend(answer)
            else:
                for number, *row in answer:
                    rows[places[number]].append(tuple(row))

        return rows

    def _add(self, places: list[int], merge: Merge) -> None:
        self._places.append(places)
        sql = self._lookups[places[0]][0]
        values = [self._lookups[place][1] for place in places]
        if len(places) == 1:
            self.statements.append(merge(*_with_time(sql, values[0])))
            return
        markers = f"({', '.join('?' * (len(values[0]) + 1))})"
        parts = [_with_time(markers, (number, *row)) for number, row in enumerate(values)]
        names = ", ".join(f"a{number}" for number in range(len(values[0])))
        self.statements.append(
            merge(
                f"SELECT n, found.* FROM (VALUES {', '.join(text for text, _ in parts)}) AS given (n, {names})"
                f" CROSS JOIN LATERAL ({_with_names(sql)}) AS found",
                [value for _, row in parts for value in row],
            )
        )


def _with_time(sql: str, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    if not any(map(is_time, args)):
        return sql, args
    values = iter(args)
    kept: list[Any] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] != "?":
            return match[0]
        if is_time(value := next(values)):
            return _NOW
        kept.append(value)
        return "?"

    return _PARAMETER.sub(replace, sql), kept


@functools.lru_cache(maxsize=512)
def _with_names(sql: str) -> str:
    """The statement with `given.a0` and so on in place of its parameters."""
    numbers = iter(range(10_000))

    return _PARAMETER.sub(lambda match: f"given.a{next(numbers)}" if match[0] == "?" else match[0], sql)
