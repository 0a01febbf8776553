"""What a JSON value must be before it is stored, hashed and sent on; and how to name a place in one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import Problem

#: How deep objects and arrays may stand inside each other.
MAX_DEPTH = 100

#: Whole numbers longer than this are refused: no field means one, and other readers of the JSON would round it.
MAX_DIGITS = 20

TOO_DEEP = f"is nested too deeply: at most {MAX_DEPTH} objects and arrays may stand inside each other"
TOO_LONG = f"is a whole number of more than {MAX_DIGITS} digits: if it is a name for something, put it in quotes"
_HALF = (
    "half a character (a lone surrogate), which is no valid text; "
    "it comes from cutting a text in the middle of an emoji"
)

Path = Sequence["str | int"]


def find_problems(value: object) -> list[Problem]:
    """What keeps `value` from being good JSON: the first fault, with the path to it; mostly nothing."""
    for path, each in _walk(value):
        problem = _fault(each, len(path))
        if problem:
            return [Problem(field=json_path(path) or "body", problem=problem)]

    return []


def json_path(path: Path) -> str:
    """`["files", 0, "data"]` as `files[0].data`, short enough to be read."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{safe_quote(key)}" for key in path[:8])

    return "".join(steps).removeprefix(".") + ("…" if len(path) > 8 else "")


def safe_quote(word: object) -> str:
    """A caller's own word, fit to stand in a sentence: short, printable, whole characters."""
    text = str(word)
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:64])

    return plain + "…" if len(text) > 64 else plain


def _walk(value: object) -> Iterator[tuple[Path, object]]:
    """Every value with the keys that lead to it (one list, in motion). No recursion: the depth is the question."""
    path: list[str | int] = []
    yield path, value
    opened = [_entries(value)]
    while opened:
        for key, child in opened[-1]:
            path.append(key)
            yield path, child
            if child and isinstance(child, (dict, list)):
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


def _fault(value: object, depth: int) -> str | None:
    """What is wrong with one value, not looking into it."""
    if isinstance(value, str):
        return f"holds {_HALF}" if _halved(value) else None
    if isinstance(value, (dict, list)):
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        if isinstance(value, list) or all(isinstance(key, str) and not _halved(key) for key in value):
            return None
        return f"has a field name that is no text, or that holds {_HALF}"
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a number that can be reckoned with"
    if isinstance(value, int):  # bool too
        return None if abs(value) < 10**MAX_DIGITS else TOO_LONG

    return None if value is None else "is not a JSON value"


def _halved(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True

    return False
