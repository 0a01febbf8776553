"""NDJSON: one JSON value per line, parsed under one budget of bytes, values and lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...errors import InvalidRequest
from .strict_json import ValueBudget, loads

# A line from its first character that is not white space. The search skips blank lines: a body may have millions.
_LINE = re.compile(rb"[^\s][^\r\n]*")
_BREAKS = (b"\n", b"\r")


def loads_lines(data: bytes, *, max_lines: int) -> Sequence[object | InvalidRequest] | None:
    """
    Parse each line that is not blank; an invalid one becomes an `InvalidRequest` in its place.

    None for more than `max_lines`, which are counted before any line is parsed.
    """
    lines: list[tuple[int, int, bytes]] = []
    for line in _split(data):
        if len(lines) == max_lines:
            return None
        lines.append(line)
    budget = ValueBudget.for_parts_of(data)

    return [_parse(line, number, indent, budget) for number, indent, line in lines]


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The number, the indentation and the bytes of each line that is not blank."""
    number, end = 1, 0
    if data.startswith(b"\xef\xbb\xbf"):
        end = 3
    for match in _LINE.finditer(data, end):
        start = match.start()
        # "\r\n" is one line break. The part counted here ends before a line and so holds whole line breaks.
        number += sum(data.count(each, end, start) for each in _BREAKS) - data.count(b"\r\n", end, start)
        indent = start - max(end, *(data.rfind(each, end, start) + 1 for each in _BREAKS))
        yield number, indent, match[0]
        end = match.end()


def _parse(line: bytes, number: int, indent: int, budget: ValueBudget | None) -> object | InvalidRequest:
    try:
        return loads(line, line=number, indent=indent, budget=budget)
    except InvalidRequest as exc:
        # A new one: the traceback of the caught one would keep the line and its values alive.
        return InvalidRequest(problems=exc.problems)
