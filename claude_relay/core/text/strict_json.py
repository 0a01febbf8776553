"""
A strict JSON parser for request bodies, with error messages for non-programmers.

Accepted values can be stored, hashed and sent on without further checks: no duplicate keys, no NaN, no numbers that
other parsers would round, no half characters, no excessive nesting.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NoReturn

from ...errors import InvalidRequest
from .json_values import MAX_DEPTH, MAX_DIGITS, TOO_DEEP, TOO_LONG, find_problems, safe_quote
from .long_texts import LONG, take_long_texts
from .written_numbers import read_number

#: Maximum number of values in a body. One of 32 MiB could have 16 million, gigabytes as Python values.
MAX_VALUES = 1_000_000

_TOO_MANY = f"has too many values: the maximum is {MAX_VALUES:,} in one body"
_CURE = (
    "Let the tool write the JSON: in Make, pass the text through a “Transform to JSON” or “Create JSON” module first, "
    "or send the fields as a form (content type application/x-www-form-urlencoded), where nothing needs escaping"
)
_ESCAPES = {"\n": r"\n", "\r": r"\r\n", "\t": r"\t"}
_NAMES = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # an escape that may be half a character; few bodies have one

_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes.maketrans(b"[]{}", bytes((1, 255, 1, 255)))  # as signed bytes: one level deeper, one level back


class ValueBudget:
    """The number of values that the parts of one body may still have together: lines, or fields of a form."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    @classmethod
    def for_parts_of(cls, data: bytes) -> ValueBudget | None:
        """The budget for the parts of `data`; None if they cannot exceed it, which saves the exact count."""
        return cls() if _openings(data) > MAX_VALUES else None

    def take(self, data: bytes) -> None:
        """Count the values of one part; raises `InvalidRequest` when there are too many."""
        self._left -= _check_count(data, self._left)


def loads(data: bytes, *, line: int = 1, indent: int = 0, budget: ValueBudget | None = None) -> object:
    """
    Parse `data`; raises `InvalidRequest`, with line and column where the problem has a position.

    `line`, `indent`: where `data` begins in the body that it is a part of; `budget`: the one of that body.
    """
    if budget is not None:
        budget.take(data)
    elif len(data) > MAX_VALUES and _openings(data) > MAX_VALUES:
        _check_count(data, MAX_VALUES)
    if len(data) > LONG and (long := take_long_texts(data)) is not None:
        with contextlib.suppress(json.JSONDecodeError, RecursionError, _BadNumber, InvalidRequest):
            return _check_if_needed(_decoder(iter(long[1])).decode(long[0].removeprefix("\ufeff")), data)
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as exc:
        line += data.count(b"\n", 0, exc.start)
        problem = f"is not UTF-8 text (byte {exc.start + 1}, line {line}): save or send it as UTF-8"
    else:
        try:
            value: object = _DECODER.decode(text)
        except json.JSONDecodeError as exc:
            problem = _describe(exc, line=line, indent=indent)
        except RecursionError:
            problem = TOO_DEEP
        except _BadNumber as exc:
            problem = exc.describe(text, line=line, indent=indent)
        else:
            return _check_if_needed(value, data)

    return _refuse(problem)  # outside the handlers, so that the exception does not keep the text alive


def _check_if_needed(value: object, data: bytes) -> object:
    if not _may_be_deep(data) and not (b"\\" in data and _HALF.search(data)):
        return value
    problems = find_problems(value)
    if problems:
        raise InvalidRequest(problems=problems)

    return value


def _may_be_deep(data: bytes) -> bool:
    """
    Whether there are more brackets than levels are allowed, also inside strings.

    `find` skips what is none of them many times faster than `count` (*measured*: 3 µs in place of 50 for 64 KiB).
    """
    for bracket in (b"{", b"["):
        at = -1
        for _ in range(MAX_DEPTH // 2 + 1):
            if (at := data.find(bracket, at + 1)) < 0:
                break
        else:
            return True

    return False


def _openings(data: bytes) -> int:
    """The number of brackets and commas, also inside strings: an upper estimate of the number of values."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _check_count(data: bytes, limit: int) -> int:
    """
    Count the values; refuse more than `limit`.

    Commas inside strings, as in a long prompt, do not count.

    Strings are removed in linear time and memory: escaped quotes first, since a pattern that matches them would keep a
    backtracking mark for each.
    """
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    count = limit + 1
    if bare.count(b'"') <= 4 * MAX_VALUES:
        bare = re.sub(rb'"[^"]*"', b"", bare)
        count = _openings(bare)
    if count <= limit:
        return count

    brackets = bare[:MAX_VALUES].translate(_STEPS, _NO_BRACKETS)
    deepest = max(accumulate(memoryview(brackets).cast("b")), default=0)
    return _refuse(TOO_DEEP if deepest > MAX_DEPTH else _TOO_MANY)


def _describe(exc: json.JSONDecodeError, *, line: int, indent: int) -> str:
    """
    The parser's error in words for the person who must fix it.

    The text is not quoted: it may be a prompt.
    """
    text, at, message = exc.doc, exc.pos, exc.msg
    if not text.strip(" \t\r\n"):
        return 'is empty: send a JSON object such as {"prompt": "…"}'

    char, cure = text[at : at + 1], ""
    if message.startswith("Invalid control character"):
        name = _NAMES.get(char, f"a control character (U+{ord(char or ' '):04X})")
        escape = _ESCAPES.get(char, f"\\u{ord(char or ' '):04x}")
        problem = f"{name} inside a string must be written as {escape}: the prompt probably contains one"
        cure = _CURE
    elif message.startswith("Unterminated string"):
        problem = "the string that begins here never ends: its closing quote is missing, or the body was truncated"
    elif message.startswith("Invalid \\u"):
        problem = r"\u must be followed by four hexadecimal digits"
    elif message.startswith("Invalid \\escape"):
        problem = r"a backslash inside a string must be written as \\"
        cure = _CURE
    elif _follows_string(text, at) and char not in ("", "}", "]", ","):
        problem = 'a string ends at a quote and more text follows: the prompt probably contains an unescaped quote (")'
        cure = _CURE
    elif message == "Extra data":
        problem = "there is more text after the end of the JSON"
    elif char in ("", ",", "}", "]") and message == "Expecting value":
        problem = "a value is missing" if char else "the body ends too early"
        cure = 'An empty field needs "" or null, and no comma may follow the last one' if char else ""
    elif char == "'":
        problem = 'strings and names need straight double quotes ("), not single ones'
    elif char in ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"):
        problem = 'strings and names need straight quotes ("), not typographic ones'
    elif "trailing comma" in message:  # Python 3.13 and later report it as such
        problem = "a comma follows the last field, and nothing after it"
    elif "property name" in message:
        problem = "a field name in double quotes is expected here; is there an extra comma before it?"
    elif char == "":
        problem = "the body ends too early: a closing bracket or quote is missing"
    elif message == "Expecting value":
        problem = "a value is expected here; strings need double quotes"
    else:
        problem = message[:1].lower() + message[1:]

    column = exc.colno + (indent if exc.lineno == 1 else 0)
    place = f"at line {line + exc.lineno - 1}, column {column}"
    return f"is not valid JSON: {place}, {problem}" + (f". {cure}" if cure else "")


def _follows_string(text: str, at: int) -> bool:
    """Whether this place follows a closing quote, as it does after a string with an unescaped quote in it."""
    return text[max(0, at - 100) : at].rstrip(" \t\r\n").endswith('"')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        _refuse(f"has the field “{safe_quote(duplicate)}” twice in one object: send it only once")

    return value


class _BadNumber(Exception):
    """A number that is refused, as it was written; the parser does not tell its place."""

    def __init__(self, written: str, problem: str) -> None:
        super().__init__(problem)
        self._written, self._problem = written, problem

    def describe(self, text: str, *, line: int, indent: int) -> str:
        """The problem with line and column: the first place outside of strings where the number is written."""
        after, at, quotes = 0, -1, 0
        while (at := text.find(self._written, at + 1)) >= 0:
            bare = text[after:at].replace("\\\\", "").replace('\\"', "")
            quotes, after = quotes + bare.count('"'), at
            around = text[at - 1 : at] + text[at + len(self._written) : at + len(self._written) + 1]
            if quotes % 2 == 0 and not any(char.isalnum() or char in "+-." for char in around):
                break
        if at < 0:
            return self._problem
        before = text[:at]
        first = "\n" not in before
        column = at - before.rfind("\n") + (indent if first else 0)

        return f"{self._problem} (line {line + before.count(chr(10))}, column {column})"


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise _BadNumber(digits, f"has a number, {safe_quote(digits)}, that {TOO_LONG}")

    return int(digits)


def _fraction(digits: str) -> float:
    number = read_number(digits) if len(digits) <= 400 else math.inf
    if not math.isfinite(number):
        problem = f"has a number, {safe_quote(digits)}, that is too large or too long for JSON parsers"
        raise _BadNumber(digits, problem)

    return number


def _constant(word: str) -> object:
    raise _BadNumber(word, f"has {word} for a number, which is not JSON: leave the field out, or send null")


def _refuse(problem: str) -> NoReturn:
    raise InvalidRequest.at("body", problem)


def _decoder(long_texts: Iterator[str] | None = None) -> json.JSONDecoder:
    """The parser; with `long_texts` each NaN stands for the next of them."""
    constant = _constant if long_texts is None else lambda _: next(long_texts)
    return json.JSONDecoder(
        object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=constant, strict=True
    )


_DECODER = _decoder()
