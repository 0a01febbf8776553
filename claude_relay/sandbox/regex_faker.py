"""Generation of a string that matches a regular expression, by walking the parsed expression."""

from __future__ import annotations

import re
import string
import sys
from random import Random
from typing import Any

from claude_relay.sandbox.bounded_regex import matches

if sys.version_info >= (3, 11):
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:  # pragma: no cover
    import sre_constants as codes
    import sre_parse as parser

_ATTEMPTS = 60
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


class _UnsupportedPattern(Exception):
    """The expression uses an unsupported construct, or is too long."""


def example(pattern: str, rng: Random, *, least: int = 0, most: int | None = None) -> str | None:
    """A string within the length limits in which `re.search` finds the pattern; None where none was generated."""
    try:
        tree = parser.parse(pattern)
        for attempt in range(_ATTEMPTS):
            # Later attempts repeat more often, as minLength may need a longer string.
            text = _Walk(rng, extra=min(attempt, 3) if attempt < 20 else attempt + least).sequence(tree)
            if least <= len(text) and (most is None or len(text) <= most) and matches(pattern, text):
                return text
    except (_UnsupportedPattern, re.error, RecursionError, OverflowError):
        return None
    return None


class _Walk:
    """One walk through the tree; keeps groups for back-references."""

    def __init__(self, rng: Random, *, extra: int) -> None:
        self._rng = rng
        self._extra = extra
        self._groups: dict[int, str] = {}

    def sequence(self, tree: Any) -> str:
        return "".join(self._node(op, value) for op, value in tree)

    def _node(self, op: Any, value: Any) -> str:
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
            return self._repeat(*value)
        if str(op) == "ATOMIC_GROUP":
            return self.sequence(value)
        raise _UnsupportedPattern(str(op))

    def _repeat(self, least: int, most: int, tree: Any) -> str:
        if least > _MOST_REPEATS:
            raise _UnsupportedPattern("repeats")
        count = self._rng.randint(least, min(most, least + self._extra, _MOST_REPEATS))
        return "".join(self.sequence(tree) for _ in range(count))

    def _members(self, items: Any) -> list[str]:
        """The characters of a set; for a negated one, those of a plain alphabet that it allows."""
        members: set[str] = set()
        negated = False
        for op, value in items:
            if op is codes.NEGATE:
                negated = True
            elif op is codes.LITERAL:
                members.add(chr(value))
            elif op is codes.RANGE:
                members.update(chr(code) for code in range(value[0], min(value[1], value[0] + 500) + 1))
            elif op is codes.CATEGORY:
                members.update(_CATEGORIES[value])
            else:
                raise _UnsupportedPattern(str(op))
        choices = sorted(set(_ALPHABET) - members if negated else members)
        if not choices:
            raise _UnsupportedPattern("an empty set")
        return choices
