"""
Shared SQL for PostgreSQL.

The statements are the same for every engine, and written so that both understand them. This translates the rest:
parameter markers, three constructs without a common spelling, and two statements. Index hints are comments here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from ..sql import search_index

_OWN = {
    # Era by era, from the newest one on, until there are enough: an index of arrays has no order, so that all entries
    # of a frequent text would be read before the first one is known.
    search_index.NUMBERS: """
SELECT docs.rowid FROM (
    SELECT CAST(string_to_array(%s, ' ') AS integer[]) AS marks, CAST(%s AS bigint) AS low, CAST(%s AS bigint) AS high
) AS asked
CROSS JOIN LATERAL (
    SELECT mark FROM search_eras
    WHERE first < asked.high AND first >= coalesce(
        (SELECT first FROM search_eras WHERE first <= asked.low ORDER BY first DESC LIMIT 1), 0)
    ORDER BY first DESC
) AS era
CROSS JOIN LATERAL (
    SELECT rowid FROM search_docs
    WHERE marks @> (asked.marks || era.mark) AND rowid >= asked.low AND rowid < asked.high ORDER BY rowid DESC
) AS docs
LIMIT %s""",
    search_index.ADD_ENTRY: "INSERT INTO search_docs (rowid, marks) VALUES (%s, CAST(%s AS integer[]))",
}
_TOKEN = re.compile(
    r"(?P<string>'(?:[^']|'')*')"
    r"|(?P<parameter>\?)"
    r"|(?P<percent>%)"
    r"|(?P<like>\bLIKE\b)"  # SQLite's is not case-sensitive
    r"|(?P<json>\w+)(?= -> ')"  # a TEXT column
    r"|CAST\((?P<bytes>\w+\.body) AS TEXT\)"
)
_SPLIT = "\x00"  # in no statement


@functools.lru_cache(maxsize=4096)
def translate(sql: str) -> str:
    """The statement with `%s` for its parameters; cached, as there are some hundreds of statements."""
    return _OWN.get(sql) or _TOKEN.sub(_translate_token, sql)


@functools.lru_cache(maxsize=4096)
def split(sql: str) -> Sequence[str]:
    """The parts of the translated statement between its parameters."""
    if own := _OWN.get(sql):
        return own.strip().split("%s")

    return _TOKEN.sub(_split_token, sql).strip().split(_SPLIT)


def to_parameters(args: Sequence[Any]) -> list[Any]:
    """The values as PostgreSQL can store them: strings without zero bytes, and flags as numbers."""
    return [to_parameter(value) for value in args]


def _translate_token(match: re.Match[str]) -> str:
    if match["string"] is not None:
        return match["string"].replace("%", "%%")
    if match["parameter"] is not None:
        return "%s"
    if match["percent"] is not None:
        return "%%"
    if match["like"] is not None:
        return "ILIKE"
    if match["json"] is not None:
        return f"CAST({match['json']} AS json)"

    return f"convert_from({match['bytes']}, 'UTF8')"


def _split_token(match: re.Match[str]) -> str:
    if match["parameter"] is not None:
        return _SPLIT

    return match[0] if match["string"] or match["percent"] else _translate_token(match)


def to_parameter(value: Any) -> Any:
    """The value as PostgreSQL can store it."""
    if type(value) is str:
        # Answers and replies may contain it. JSON escapes it, so that only plain text loses it.
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if isinstance(value, bool):
        return int(value)

    return value
