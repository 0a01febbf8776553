"""The texts of messages with several statements: one round trip, in which the first error ends the rest."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..sql.lookahead import Lookup
from ..sql.query import Row, Rows
from .statements import TIME_SETTING, as_array

#: Makes the text of a statement with its values.
Text = Callable[[str, Sequence[Any]], str]

_PARAMETER = re.compile(r"'(?:[^']|'')*'|\?")


def begin_time(clock: Callable[[], float] | None) -> str:
    """The statement that sets the time of the transaction and returns it; without a `clock` that is the server's."""
    time = "extract(epoch FROM clock_timestamp())::float8" if clock is None else repr(clock())

    return f"SELECT set_config('{TIME_SETTING}', ({time})::text, true)"


def is_guarded(sql: str) -> bool:
    """Whether it is an UPDATE of one row that is a conflict if it misses it (`sql.query.QueryBase`)."""
    return sql.rstrip().endswith("RETURNING 1")


@functools.lru_cache(maxsize=512)
def guard(statement: str) -> str:
    """The statement so that the server itself ends the transaction if no row is found: by a division by zero."""
    return f"WITH moved AS ({statement}) SELECT 1 / count(*) FROM moved"


class Lookups:
    """Look-ups as few statements: those that differ only in their values become one."""

    def __init__(self, lookups: Sequence[Lookup], text: Text) -> None:
        self._lookups = lookups
        self._places: list[list[int]] = []  # for each statement, the look-ups that it answers
        self.statements: list[str] = []
        alike: dict[str, list[int]] = {}
        for place, (sql, args) in enumerate(lookups):
            if args and "LIMIT ?" not in sql:  # a limit must be one value for all
                alike.setdefault(sql, []).append(place)
            else:
                self._add([place], text)
        for places in alike.values():
            self._add(places, text)

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

    def _add(self, places: list[int], text: Text) -> None:
        self._places.append(places)
        sql = self._lookups[places[0]][0]
        values = [self._lookups[place][1] for place in places]
        if len(places) == 1:
            self.statements.append(text(sql, values[0]))
            return
        columns = [as_array(column) for column in zip(*values, strict=True)]
        if all(column is not None for column in columns):  # one statement for any number of look-ups
            given = f"unnest({', '.join('?' * len(columns))}) WITH ORDINALITY AS given ({_names(len(columns))}, n)"
            self.statements.append(text(f"SELECT n - 1, found.* FROM {given}{_each(sql)}", columns))
            return
        row = f"({', '.join('?' * (len(columns) + 1))})"
        given = f"(VALUES {', '.join([row] * len(values))}) AS given (n, {_names(len(columns))})"
        self.statements.append(
            text(
                f"SELECT n, found.* FROM {given}{_each(sql)}",
                [value for number, row in enumerate(values) for value in (number, *row)],
            )
        )


def _names(count: int) -> str:
    return ", ".join(f"a{number}" for number in range(count))


@functools.lru_cache(maxsize=512)
def _each(sql: str) -> str:
    """The statement for each row of `given`, with `given.a0` and so on in place of its parameters."""
    numbers = iter(range(10_000))
    named = _PARAMETER.sub(lambda match: f"given.a{next(numbers)}" if match[0] == "?" else match[0], sql)

    return f" CROSS JOIN LATERAL ({named}) AS found"
