"""
JSON as it comes in at the door: read strictly, refused in words that need no programmer.

What is taken can be stored, hashed and sent on without a second thought: no key twice, no NaN, no number that another
reader would round, no half characters, no nesting that a later step would stumble over.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, NoReturn

from ...errors import InvalidRequest, Problem
from .json_values import MAX_DEPTH, MAX_DIGITS, TOO_DEEP, TOO_LONG, find_problems, safe_quote

#: How many values a body may hold. One of 32 MiB has room for 16 million, which would take gigabytes as Python values.
MAX_VALUES = 1_000_000

_TOO_MANY = f"holds too many values: at most {MAX_VALUES:,} are taken in one body"
_CURE = (
    "Let the tool write the JSON: in Make, pass the text through a “Transform to JSON” or “Create JSON” module first, "
    "or send the fields as a form (content type application/x-www-form-urlencoded), where nothing needs escaping"
)
_ESCAPES = {"\n": r"\n", "\r": r"\r\n", "\t": r"\t"}
_NAMES = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # an escape that may be half a character; few bodies have one

_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes.maketrans(b"[]{}", bytes((1, 255, 1, 255)))  # as signed bytes: one deeper, one back


def loads(data: bytes) -> object:
    """The value that `data` holds, or `InvalidRequest`: with line and column where the fault has a place."""
    openings = _openings(data)
    if openings > MAX_VALUES:
        _look_closer(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        problem = f"is not UTF-8 text (byte {exc.start + 1}, line {line}): save or send it as UTF-8"
    else:
        try:
            value: object = _DECODER.decode(text)
        except json.JSONDecodeError as exc:
            problem = _in_words(exc)
        except RecursionError:
            problem = TOO_DEEP
        else:
            return value if openings <= MAX_DEPTH and not _HALF.search(data) else _checked(value)

    _refuse(problem)  # out here, so that the error does not hold on to the text it is about


def _checked(value: object) -> object:
    problems = find_problems(value)
    if problems:
        raise InvalidRequest(problems=problems)

    return value


def _openings(data: bytes) -> int:
    """Brackets and commas, those inside texts included: about as many as there are values, or more."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _look_closer(data: bytes) -> None:
    """
    Refuse what would take too much memory, before it does. A long prompt full of commas is no such thing.

    Texts are taken out in linear time and memory: escaped quotes first, since a pattern that knows them would keep a
    mark for each.
    """
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') <= 4 * MAX_VALUES:
        bare = re.sub(rb'"[^"]*"', b"", bare)
        if _openings(bare) <= MAX_VALUES:
            return

    brackets = bare[:MAX_VALUES].translate(_STEPS, _NO_BRACKETS)
    deepest = max(accumulate(memoryview(brackets).cast("b")), default=0)
    _refuse(TOO_DEEP if deepest > MAX_DEPTH else _TOO_MANY)


def _in_words(exc: json.JSONDecodeError) -> str:
    """The parser's remark, for the person who has to mend it. The text itself is not repeated: it may be a prompt."""
    text, at, said = exc.doc, exc.pos, exc.msg
    if not text.strip(" \t\r\n"):
        return 'is empty: send a JSON object such as {"prompt": "…"}'

    found, cure = text[at : at + 1], ""
    if said.startswith("Invalid control character"):
        name = _NAMES.get(found, f"a control character (U+{ord(found or ' '):04X})")
        escape = _ESCAPES.get(found, f"\\u{ord(found or ' '):04x}")
        what = f"{name} stands inside a text, where JSON needs {escape}: the prompt's text probably contains one"
        cure = _CURE
    elif said.startswith("Unterminated string"):
        what = "the text that begins here never ends: its closing quote is missing, or the body was cut off"
    elif said.startswith("Invalid \\u"):
        what = r"\u must be followed by four hexadecimal digits"
    elif said.startswith("Invalid \\escape"):
        what = r"a backslash stands inside a text without being escaped: JSON needs \\ for it"
        cure = _CURE
    elif _after_a_text(text, at) and found not in ("", "}", "]", ","):
        what = "a text ends at a quote and more follows it: the prompt's text probably contains a quote (\") as it is"
        cure = _CURE
    elif said == "Extra data":
        what = "the JSON is over, and more follows it"
    elif found in ("", ",", "}", "]") and said == "Expecting value":
        what = "a value is missing" if found else "the body breaks off"
        cure = 'A field that was left empty needs "" or null, and no comma may follow the last one' if found else ""
    elif found == "'":
        what = 'texts and names need straight double quotes ("), not single ones'
    elif found in ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"):
        what = 'texts and names need straight quotes ("), not typographic ones'
    elif "trailing comma" in said:  # Python 3.13 and later see it for what it is
        what = "a comma follows the last one, and nothing after it"
    elif "property name" in said:
        what = "a field's name in double quotes should stand here; is there a comma too many before it?"
    elif found == "":
        what = "the body breaks off: a closing bracket or quote is missing"
    elif said == "Expecting value":
        what = "a value should stand here; texts need double quotes around them"
    else:
        what = said[:1].lower() + said[1:]

    return f"is not valid JSON: at line {exc.lineno}, column {exc.colno}, {what}" + (f". {cure}" if cure else "")


def _after_a_text(text: str, at: int) -> bool:
    """Whether the last thing before this place was a closing quote, as it is after a text with a raw quote in it."""
    return text[max(0, at - 100) : at].rstrip(" \t\r\n").endswith('"')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        _refuse(f"has the field “{safe_quote(twice)}” twice in one object: which one is meant?")

    return made


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        _refuse(f"has a number, {safe_quote(digits)}, that {TOO_LONG}")

    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits) if len(digits) <= 400 else math.inf
    if not math.isfinite(number):
        _refuse(f"has a number, {safe_quote(digits)}, that is larger or longer than any reader of JSON can take")

    return number


def _constant(word: str) -> NoReturn:
    _refuse(f"has {word} for a number, which is not JSON: leave the field out, or send null")


def _refuse(problem: str) -> NoReturn:
    raise InvalidRequest(problems=[Problem(field="body", problem=problem)])


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_fraction, parse_constant=_constant, strict=True
)
