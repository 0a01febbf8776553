"""Checks of JSON values before they are stored, hashed and sent on; paths and quotes for messages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import Problem

#: Maximum nesting of objects and arrays.
MAX_DEPTH = 100

#: Longer integers are refused: no field needs one, and other JSON parsers would round it.
MAX_DIGITS = 20

TOO_DEEP = f"is nested too deeply: the maximum is {MAX_DEPTH} levels of objects and arrays"
TOO_LONG = f"is a whole number of more than {MAX_DIGITS} digits: if it is an identifier, put it in quotes"
_HALF = (
    "half a character (a lone surrogate), which is not valid text; "
    "it results from cutting a string in the middle of an emoji"
)

_FENCE = re.compile(r"\A\s*```[ \t]*(?:json)?[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL | re.IGNORECASE)

#: Characters that are encoded at once.
_PIECE = 2**16

Path = Sequence["str | int"]


def find_problems(value: object) -> list[Problem]:
    """The first problem that keeps `value` from being valid JSON, with its path; usually none."""
    for path, child in _walk(value):
        problem = _problem(child, len(path))
        if problem:
            return [Problem(field=json_path(path) or "body", problem=problem)]

    return []


def find_unencodable(value: object) -> str | None:
    """Why a value that came from outside cannot be written as JSON, in words that follow its name; usually None."""
    for path, child in _walk(value):
        if isinstance(child, float) and not math.isfinite(child):
            return "is a number that is out of range"
        if len(path) > MAX_DEPTH:
            return TOO_DEEP

    return None


def json_path(path: Path) -> str:
    """Format `["files", 0, "data"]` as `files[0].data`, shortened if it is long."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{safe_quote(key)}" for key in path[:8])

    return "".join(steps).removeprefix(".") + ("…" if len(path) > 8 else "")


def strip_fence(text: str) -> str:
    """The content of a Markdown code fence around the whole text, or the text."""
    match = _FENCE.match(text)

    return match.group(1) if match else text


def safe_quote(word: object, *, limit: int = 64) -> str:
    """A caller's own word, made safe for a message: short, printable, without half characters."""
    text = str(word)
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:limit])

    return plain + "…" if len(text) > limit else plain


def _walk(value: object) -> Iterator[tuple[Path, object]]:
    """Every value with its path (a single list that changes). Not recursive, as the depth is unchecked."""
    path: list[str | int] = []
    yield path, value
    opened = [_entries(value)]
    while opened:
        for key, child in opened[-1]:
            path.append(key)
            yield path, child
            if isinstance(child, (dict, list)):
                opened.append(_entries(child))
                break
            path.pop()
        else:
            opened.pop()
            if path:
                path.pop()


def _entries(value: object) -> Iterator[tuple[Any, object]]:
    if isinstance(value, dict):
        return iter(value.items())

    return iter(enumerate(value)) if isinstance(value, list) else iter(())


def _problem(value: object, depth: int) -> str | None:
    """The problem with one value, without its children."""
    if isinstance(value, str):
        return f"contains {_HALF}" if _has_surrogate(value) else None
    if isinstance(value, (dict, list)):
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        if isinstance(value, list) or all(isinstance(key, str) and not _has_surrogate(key) for key in value):
            return None
        return f"has a field name that is not a string, or that contains {_HALF}"
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a finite number"
    if isinstance(value, int):  # bool too
        return None if abs(value) < 10**MAX_DIGITS else TOO_LONG

    return None if value is None else "is not a JSON value"


def _has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        for at in range(0, len(text), _PIECE):  # as a whole, four bytes for each character
            text[at : at + _PIECE].encode()
    except UnicodeEncodeError:
        return True

    return False
