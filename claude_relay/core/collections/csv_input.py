"""Tables in CSV (RFC 4180): decoding, the delimiter, the header, and rows as variables."""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from ...errors import InvalidRequest, Problem
from ..lazy_dataclass import dataclass
from ..templates import normal_name
from ..text.json_values import safe_quote
from .collection import MAX_ROWS

MAX_COLUMNS = 500
DELIMITERS = {",": ",", ";": ";", "\t": "\t", "tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
_CHARSETS = ("utf-8", "windows-1252", "iso-8859-1", "iso-8859-15", "us-ascii")
_MOST_PROBLEMS = 100

# The module's own limit of a cell is 128 KiB, for the whole process; bodies are bounded before they come here.
csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows (or the problem of a row), the names of their columns, and the lines where they begin."""

    rows: list[Any] = field(repr=False)
    columns: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()


def read_csv(data: bytes, *, charset: str | None = None, delimiter: str | None = None) -> Table:
    """The table, or `InvalidRequest` that names line and column."""
    text = _decode(data, charset)
    if not text.strip():
        raise InvalidRequest.at("rows", "is an empty file: send a line of column titles, and a line for each row")
    mark = _delimiter(text, delimiter)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    records = _records(lines)
    line, titles = next(records)
    columns = _columns(titles, line)
    rows: list[dict[str, str]] = []
    starts: list[int] = []
    problems: list[Problem] = []
    for index, (line, cells) in enumerate(records):
        if index >= MAX_ROWS:
            raise too_many_rows()
        if len(cells) == len(columns):
            rows.append(dict(zip(columns, cells, strict=True)))
            starts.append(line)
            continue
        problems.append(Problem(field=f"rows[{index}]", problem=_width(len(cells), len(columns), index + 1, line)))
        if len(problems) == _MOST_PROBLEMS:
            break
    if problems:
        raise InvalidRequest(problems=problems)
    if not rows:
        raise InvalidRequest.at("rows", "has a line of column titles and no row below it")

    return Table(rows=list(rows), columns=columns, lines=tuple(starts))


def too_many_rows() -> InvalidRequest:
    """The refusal of a request with too many rows."""
    return InvalidRequest.at(
        "rows",
        f"has more than {MAX_ROWS:,} rows, the maximum of one request: make the collection with open: true, "
        "and send the rest to /api/collections/{id}/rows",
    )


def _decode(data: bytes, charset: str | None) -> str:
    name = (charset or "utf-8").lower()
    try:
        supported = codecs.lookup(name).name in {codecs.lookup(each).name for each in _CHARSETS}
    except LookupError:
        supported = False
    if not supported:
        raise InvalidRequest.at("charset", f"{safe_quote(name)} is not one of {', '.join(_CHARSETS)}")
    try:
        return data.decode("utf-8-sig" if codecs.lookup(name).name == "utf-8" else name)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise InvalidRequest.at(
            "rows",
            f"is not {name} (byte {exc.start + 1}, line {line}): save the file as CSV UTF-8, "
            "or name its encoding, as in Content-Type: text/csv; charset=windows-1252",
        ) from None


def _delimiter(text: str, given: str | None) -> str:
    """The given delimiter, else the one that is most frequent in the header, outside of quotes."""
    if given:
        if given.lower() not in DELIMITERS:
            raise InvalidRequest.at("delimiter", "must be a comma, a semicolon or tab")
        return DELIMITERS[given.lower()]
    marks, quoted = "", False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "\r\n":
            break
        elif not quoted and char in ",;\t":
            marks += char

    return max(",;\t", key=marks.count)


def _records(lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, with the line where it begins."""
    while True:
        start = lines.line_num + 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as exc:
            raise InvalidRequest.at("rows", _quote_problem(str(exc), start, lines.line_num)) from None
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield start, cells


def _quote_problem(text: str, start: int, end: int) -> str:
    if "end of data" in text:
        return f"has a quote that is opened in line {start} and never closed"

    return (
        f"has a wrong quote in line {end}, in the row that begins in line {start}: a cell in quotes ends with its "
        'closing quote, and a quote inside it is written twice ("")'
    )


def _columns(titles: list[str], line: int) -> tuple[str, ...]:
    if len(titles) > MAX_COLUMNS:
        raise InvalidRequest.at("rows", f"has {len(titles):,} columns in line {line}, the maximum is {MAX_COLUMNS}")
    names = [normal_name(title) for title in titles]
    problems = []
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            problems.append(Problem(field="rows", problem=f"has no title in line {line}, column {number}"))
        elif name in seen:
            text = f"has the title “{safe_quote(name)}” twice in line {line}: columns {seen[name]} and {number}"
            problems.append(Problem(field="rows", problem=text))
        seen.setdefault(name, number)
    if problems:
        raise InvalidRequest(problems=problems[:_MOST_PROBLEMS])

    return tuple(names)


def _width(cells: int, columns: int, row: int, line: int) -> str:
    return (
        f"has {_count(cells, 'cell')}, and the table has {_count(columns, 'title')}; "
        f"a cell with a delimiter in it needs quotes (row {row}, line {line})"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
