"""
SQL as the house writes it, for PostgreSQL.

The statements are the same for every engine, and written so that both understand them; here is what is left: how
parameters are marked, and what SQLite alone has a word for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*')"
    r"|(?P<mark>\?)"
    r"|(?P<percent>%)"
    r"|(?P<index> INDEXED BY \w+)"
    r"|(?P<like>\bLIKE\b)"  # SQLite's takes a for A
    r"|(?P<json>\w+)(?= -> ')"  # kept as text
    r"|CAST\((?P<bytes>\w+\.body) AS TEXT\)"
)


@functools.lru_cache(maxsize=4096)
def translate(sql: str) -> str:
    """The statement with `%s` for its parameters. Once for each: there are some hundreds."""
    return _TOKEN.sub(_token, sql)


def safe(args: Sequence[Any]) -> list[Any]:
    """The values as they can be kept: a text has no zero byte there, and flags are numbers."""
    return [_value(value) for value in args]


def _token(found: re.Match[str]) -> str:
    if found["text"] is not None:
        return found["text"].replace("%", "%%")
    if found["mark"] is not None:
        return "%s"
    if found["percent"] is not None:
        return "%%"
    if found["index"] is not None:
        return ""
    if found["like"] is not None:
        return "ILIKE"
    if found["json"] is not None:
        return f"CAST({found['json']} AS json)"

    return f"convert_from({found['bytes']}, 'UTF8')"


def _value(value: Any) -> Any:
    if type(value) is str:
        # Answers and replies may hold anything. JSON writes it as an escape, so it is lost from bare text alone.
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if isinstance(value, bool):
        return int(value)

    return value
