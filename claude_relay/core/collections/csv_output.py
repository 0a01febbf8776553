"""Results as CSV: columns, cells, and the forms that spreadsheets of several countries open."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ...errors import InvalidRequest, Problem
from ..files.types import sniff
from ..lazy_dataclass import dataclass
from ..text.written_numbers import WrittenNumber, encode_as_written
from .csv_input import DELIMITERS

#: Columns of answers; of more fields than this the complete JSON is one column.
MAX_FIELDS = 500
#: Characters of an input cell: a spreadsheet's cell holds 32,767.
MAX_INPUT = 32_000
#: The columns after the answer, and those of rows with checks.
LAST = ("requestId", "status", "error", "costUsd")
CHECKS = ("checksFailed", "failedChecks")
#: Base64 characters from which a value is looked at as the content of a file, and of its beginning.
_MIN_FILE, _FILE_START = 512, 1_368
#: 1e-999999999 is as short as 0.1, and would be a cell of a gigabyte.
_MAX_EXPONENT = 400

_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Text that a spreadsheet reads as another value: more digits than it keeps or zeros before them (a KID, an account),
# a day or month without the rest of its date (12.10, 3/4, 2026-11), an exponent (12E5), points between thousands.
_MISREAD = re.compile(
    r"[+-]?(?:[0-9]{16,}|0[0-9]+(?:[.,][0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?)"
    r"|[0-9]{1,2}[./-][0-9]{1,2}\.?|(?:19|20)[0-9]{2}[./-](?:0?[1-9]|1[0-2])|[0-9]{1,2}[./-][0-9]{4}"
)


@dataclass(frozen=True, kw_only=True)
class CsvForm:
    """The form of a CSV file."""

    delimiter: str = ","
    decimal: str = "."
    bom: bool = False


#: A semicolon, decimal comma and byte order mark, as Excel expects them in Norwegian and German.
EXCEL = CsvForm(delimiter=";", decimal=",", bom=True)


def read_form(*, excel: bool, delimiter: str | None, decimal: str | None, bom: str | None) -> CsvForm:
    """The form that a query asks for; raises `InvalidRequest`."""
    usual, problems = EXCEL if excel else CsvForm(), []
    if delimiter and delimiter.lower() not in DELIMITERS:
        problems.append(Problem(field="delimiter", problem="must be a comma, a semicolon or tab"))
    if decimal not in (None, "", ".", ","):
        problems.append(Problem(field="decimal", problem="must be . or ,"))
    if bom not in (None, "", "0", "1", "true", "false"):
        problems.append(Problem(field="bom", problem="must be 1 or 0"))
    if problems:
        raise InvalidRequest(problems=problems)

    return CsvForm(
        delimiter=DELIMITERS[delimiter.lower()] if delimiter else usual.delimiter,
        decimal=decimal or usual.decimal,
        bom=bom in ("1", "true") if bom else usual.bom,
    )


class Columns:
    """The columns of a result: those of the input, the fields of the answers, the last four, and the checks."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = tuple(inputs)
        self._fields: dict[str, None] = {}
        self._answered = self._texts = self._checked = False

    def observe(self, body: Mapping[str, Any] | None) -> None:
        """Take the fields of one answer into account."""
        if body is None or body.get("status") != "completed":
            return
        self._answered = True
        self._checked = self._checked or "checks" in body
        if isinstance(value := body.get("json"), dict):
            self._fields.update(dict.fromkeys(flatten(value)))
        else:
            self._texts = True

    def header(self) -> list[str]:
        """The titles; one that the input has already is `relay_…`."""
        taken = set(self._inputs)
        titles = (*self._inputs, *(_free(name, taken) for name in (*self._answer_columns, *self._last)))

        return [_safe(title) for title in titles]

    def cells(self, variables: Mapping[str, Any] | None, result: Mapping[str, Any], form: CsvForm) -> list[str]:
        """One row of cells."""
        answer = result.get("json")
        fields = flatten(answer) if isinstance(answer, dict) else {}
        if self._too_many:
            fields = {"json": answer} if isinstance(answer, dict) else {}
        if "json" not in result or not isinstance(answer, dict):
            fields = {**fields, "response": result.get("response")}
        broken = [str(check["name"]) for check in result.get("checks") or () if check["ok"] is False]
        last = {**{name: result.get(name) for name in self._last}, "failedChecks": "; ".join(broken)}
        inputs = ((variables or {}).get(name) for name in self._inputs)
        values = [_input(value) for value in inputs]
        values += [fields.get(name) for name in self._answer_columns]
        values += [last.get(name) for name in self._last]

        return [cell(value, form) for value in values]

    @property
    def _last(self) -> tuple[str, ...]:
        return LAST + CHECKS if self._checked else LAST

    @property
    def _too_many(self) -> bool:
        return len(self._fields) > MAX_FIELDS

    @property
    def _answer_columns(self) -> tuple[str, ...]:
        fields = ("json",) if self._too_many else tuple(self._fields)

        return (*fields, "response") if self._texts or not self._answered else fields


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as `a.b`; lists stay."""
    flat: dict[str, Any] = {}
    for name, child in value.items():
        if isinstance(child, dict) and child:
            flat |= flatten(child, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = child

    return flat


def cell(value: Any, form: CsvForm) -> str:
    """
    The text of a cell. One that a spreadsheet would run as a formula gets a leading apostrophe.

    With a byte order mark the file is for a spreadsheet: there also one whose text it would change gets it.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, WrittenNumber):
        return _digits(value.text).replace(".", form.decimal)
    if isinstance(value, (int, float)):
        text = format(Decimal(repr(value)), "f") if isinstance(value, float) and abs(value) < 1e16 else str(value)
        text = text.removesuffix(".0").replace(".", form.decimal)
        return f"'{text}" if form.bom and isinstance(value, int) and _MISREAD.fullmatch(text) else text
    text = value if isinstance(value, str) else encode_as_written(value)

    return f"'{text}" if form.bom and _MISREAD.fullmatch(text.strip()) else _safe(text)


def _digits(written: str) -> str:
    """A number without its exponent; as it was written where that means more zeros than any float has."""
    exponent = written.lower().partition("e")[2]

    return written if exponent and abs(int(exponent)) > _MAX_EXPONENT else format(Decimal(written), "f")


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def csv_line(cells: Iterable[str], form: CsvForm) -> bytes:
    """A line of CSV with its end, as in RFC 4180."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=form.delimiter, lineterminator="\r\n").writerow(list(cells))

    return out.getvalue().encode("utf-8", "replace")


def _input(value: Any) -> Any:
    """A variable; the content of a file is of no use in a cell, and is shown by its size."""
    if not isinstance(value, str) or len(value) < _MIN_FILE:
        return value
    if (media_type := _media_type(value)) is not None:
        size = len(value.rstrip("=")) * 3 // 4
        return f"({media_type}, {size:,} bytes)"
    if len(value) > MAX_INPUT:
        return f"{value[:MAX_INPUT]}…"

    return value


def _media_type(text: str) -> str | None:
    try:
        return sniff(base64.b64decode(text[:_FILE_START], validate=True))
    except ValueError:
        return None


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"relay_{name}"
    taken.add(name)

    return name
