"""
The texts of statements with their values, and those that the server has prepared.

Several statements go out as one message, whose values are part of its text. Planning them is half of the server's work
for a job, so that a statement that comes again is prepared: `EXECUTE` of a plan that it keeps. A name is made of the
text, so that one name never means two statements, also where a pooler shares connections. Where such a pooler hands
over a connection without them, they are given up, and the group runs again without.
"""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from psycopg import errors

from ...core.lazy_dataclass import dataclass
from ..sql.lookahead import is_time
from .connection import Connection
from .dialect import split, to_parameter

TIME_SETTING = "relay.now"
#: The time of the transaction, in a look-up that is sent before it is known here.
NOW = f"current_setting('{TIME_SETTING}')::float8"

#: Plans of one connection, values in a statement that is prepared, and times that it was sent before.
_MAX_PLANS, _MAX_VALUES, _SEEN = 200, 64, 2
#: Plans are made again after so many seconds: a table that was empty then may be large now.
_LIFETIME = 10.0
#: The errors of a connection that does not have, or not only, the statements that were prepared on it.
LOST_PLANS = (
    errors.InvalidSqlStatementName,
    errors.DuplicatePreparedStatement,
    errors.FeatureNotSupported,
    errors.IndeterminateDatatype,
)
_INT4 = 2**31
_TEXT, _UNKNOWN = "text", "unknown"


@dataclass(frozen=True)
class Array:
    """Values of one type as one value."""

    of: str
    values: Sequence[Any] = field(repr=False)


class Statements:
    """Makes the statements of one connection at a time. `prepares`: whether some are prepared."""

    def __init__(self) -> None:
        self.prepares = True
        self._connection: Connection | None = None
        self._made_at = -math.inf
        self._plans: set[str] = set()
        self._seen: Counter[str] = Counter()
        self._new: list[str] = []

    def begin(self, connection: Connection) -> Sequence[str]:
        """Statements for the next transaction of that connection; returns those that go before them."""
        if connection is not self._connection:
            self._connection = connection
            self._plans.clear()
            # Otherwise a backslash in a value would have a meaning.
            self.prepares = self.prepares and connection.info.parameter_status("standard_conforming_strings") == "on"
        if not self._plans or time.monotonic() - self._made_at < _LIFETIME:
            return ()

        return self.forget()

    def forget(self) -> Sequence[str]:
        """Forget the plans; returns the statement that makes the server do so, if it has any."""
        some = bool(self._plans or self._new)
        self._plans.clear()
        self._new.clear()
        self._seen.clear()

        return ("DEALLOCATE ALL",) if some else ()

    def take_new(self) -> Sequence[str]:
        """The statements that prepare others, to be sent before those."""
        new, self._new = self._new, []

        return new

    def text(self, sql: str, args: Sequence[Any]) -> str:
        """The statement with its values, or the execution of the one that is prepared."""
        values = [_literal(value) for value in args]
        if not self.prepares or not 0 < len(values) <= _MAX_VALUES:
            return merge(sql, values)
        # The type of a text follows from its place: it may stand for a value of another type.
        types = ",".join([_UNKNOWN if (kind := _type(value)) == _TEXT else kind for value in args])
        name = _name(sql, types)
        if name not in self._plans and not self._prepare(name, sql, types):
            return merge(sql, values)

        return f"EXECUTE {name}({','.join(values)})"

    def _prepare(self, name: str, sql: str, types: str) -> bool:
        self._seen[name] += 1
        # Nothing follows from a comparison with NULL.
        if self._seen[name] <= _SEEN or len(self._plans) >= _MAX_PLANS or (_UNKNOWN in types and "? IS NULL" in sql):
            return False
        if not self._plans:
            self._made_at = time.monotonic()
        numbers = [f"${number + 1}" for number in range(len(split(sql)) - 1)]
        self._plans.add(name)
        self._new.append(f"PREPARE {name}({types}) AS {merge(sql, numbers)}")

        return True


def merge(sql: str, values: Sequence[str]) -> str:
    """The statement with those texts in place of its parameters."""
    parts = split(sql)
    if not values:
        return parts[0]
    merged = [parts[0]]
    for value, part in zip(values, parts[1:], strict=True):
        merged += (value, part)

    return "".join(merged)


def as_array(values: Sequence[Any]) -> Array | None:
    """These values as one; None where they have not one type."""
    types = {_type(value) for value in values}
    if len(types) != 1 or _UNKNOWN in types:
        return None

    return Array(types.pop(), values)


@functools.lru_cache(maxsize=4096)
def _name(sql: str, types: str) -> str:
    return "relay_" + hashlib.blake2b(f"{types};{sql}".encode(), digest_size=12).hexdigest()


def _literal(value: Any) -> str:
    value = to_parameter(value)
    if value is None:
        return "NULL"
    if type(value) is str:
        if not value.isascii():
            value.encode()  # fails here, for this statement's function alone
        return "'" + value.replace("'", "''") + "'"
    if is_time(value):
        return NOW
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"'{value!r}'::float8"
        return repr(value) if value >= 0 else f"({value!r})"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"'\\x{bytes(value).hex()}'::bytea"
    if isinstance(value, str):
        return _literal(str(value))
    if isinstance(value, Array):
        return f"ARRAY[{','.join(map(_literal, value.values))}]::{value.of}[]"

    raise TypeError(f"a value of type {type(value).__name__} in a statement")


def _type(value: Any) -> str:
    if isinstance(value, str):
        return _TEXT
    if value is None:
        return _UNKNOWN
    if isinstance(value, float):
        return "float8"
    if isinstance(value, int):
        return "int4" if -_INT4 <= value < _INT4 else "int8"
    if isinstance(value, Array):
        return f"{value.of}[]"

    return "bytea"
