"""A text that matches a regular expression, made by walking the parsed expression; None where that is not feasible."""

from __future__ import annotations

import re
import string
import sys
from random import Random
from typing import Any

from claude_relay.sandbox.bounded_regex import found

if sys.version_info >= (3, 11):
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:  # pragma: no cover
    import sre_constants as codes
    import sre_parse as parser

_TRIES = 60
_MOST_REPEATS = 2000
_LETTERS = string.ascii_lowercase
_ALPHABET = string.ascii_letters + string.digits + " .,-_/@:#+"
_CATEGORIES = {
    codes.CATEGORY_DIGIT: string.digits,
    codes.CATEGORY_NOT_DIGIT: _LETTERS,
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: _LETTERS + string.digits,
    codes.CATEGORY_WORD: _LETTERS + string.digits,
    codes.CATEGORY_NOT_WORD: " -.",
}


class _TooHard(Exception):
    """The expression uses something that cannot be walked, or asks for too much."""


def example(pattern: str, rng: Random, *, least: int = 0, most: int | None = None) -> str | None:
    """A text that `re.search` finds the pattern in, of a length within bounds."""
    try:
        tree = parser.parse(pattern)
        for attempt in range(_TRIES):
            # Later tries repeat more often: a longer text may be what minLength asks for.
            text = _Walk(rng, extra=min(attempt, 3) if attempt < 20 else attempt + least).sequence(tree)
            if least <= len(text) and (most is None or len(text) <= most) and found(pattern, text):
                return text
    except (_TooHard, re.error, RecursionError, OverflowError):
        return None
    return None


class _Walk:
    """One walk through the tree; remembers groups for back-references."""

    def __init__(self, rng: Random, *, extra: int) -> None:
        self._rng = rng
        self._extra = extra
        self._groups: dict[int, str] = {}

    def sequence(self, tree: Any) -> str:
        return "".join(self._one(op, value) for op, value in tree)

    def _one(self, op: Any, value: Any) -> str:
        if op is codes.LITERAL:
            return chr(value)
        if op is codes.NOT_LITERAL:
            return self._rng.choice([char for char in _ALPHABET if char != chr(value)])
        if op is codes.ANY:
            return self._rng.choice(_LETTERS)
        if op is codes.IN:
            return self._rng.choice(self._members(value))
        if op is codes.BRANCH:
            return self.sequence(self._rng.choice(value[1]))
        if op is codes.SUBPATTERN:
            text = self.sequence(value[-1])
            self._groups[value[0]] = text
            return text
        if op is codes.GROUPREF:
            return self._groups.get(value, "")
        if op is codes.AT or op in (codes.ASSERT, codes.ASSERT_NOT):
            return ""
        if op in (codes.MAX_REPEAT, codes.MIN_REPEAT) or str(op) == "POSSESSIVE_REPEAT":
            return self._repeated(*value)
        if str(op) == "ATOMIC_GROUP":
            return self.sequence(value)
        raise _TooHard(str(op))

    def _repeated(self, least: int, most: int, tree: Any) -> str:
        if least > _MOST_REPEATS:
            raise _TooHard("repeats")
        count = self._rng.randint(least, min(most, least + self._extra, _MOST_REPEATS))
        return "".join(self.sequence(tree) for _ in range(count))

    def _members(self, items: Any) -> list[str]:
        """The characters of a set; a negated one is taken from a plain alphabet."""
        found: set[str] = set()
        negated = False
        for op, value in items:
            if op is codes.NEGATE:
                negated = True
            elif op is codes.LITERAL:
                found.add(chr(value))
            elif op is codes.RANGE:
                found.update(chr(code) for code in range(value[0], min(value[1], value[0] + 500) + 1))
            elif op is codes.CATEGORY:
                found.update(_CATEGORIES[value])
            else:
                raise _TooHard(str(op))
        chosen = sorted(set(_ALPHABET) - found if negated else found)
        if not chosen:
            raise _TooHard("an empty set")
        return chosen
