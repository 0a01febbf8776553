"""Typed access to the fields of one object, lenient where the contract is; collects every problem."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import Problem
from ..text.json_values import safe_quote
from ..text.suggestions import suggest

#: Limits of a reply: more entries do not help, and a hostile body could cause a million.
MAX_PROBLEMS = 100
MAX_WARNINGS = 20

_MAX_NUMBER = 10**12
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


class Diagnostics:
    """The problems, which refuse a body, and the warnings, which are sent with the 202."""

    def __init__(self, *, form: bool = False) -> None:
        self.form = form  # a form's values are all strings, which needs no warning
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def problem(self, field: str, text: str) -> None:
        """Add a problem that the caller must fix."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(field=field, problem=text))

    def warn(self, text: str) -> None:
        """Add a warning: a value was ignored or reinterpreted."""
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)


class Fields:
    """
    One object of the body, at the path `at`.

    A getter returns None if the field is absent, empty or invalid; in the last case it adds a problem. `clean` collects
    the caller's own values as they were read, for the hash that identifies a repeated request.
    """

    def __init__(self, values: Mapping[str, Any], notes: Diagnostics, *, at: str = "") -> None:
        self.notes = notes
        self.clean: dict[str, Any] = {}
        self._values = values
        self._at = at

    def path(self, name: str) -> str:
        """The path of the field, as callers read it."""
        return f"{self._at}.{name}" if self._at else name

    def as_sent(self, name: str) -> Any:
        """The unmodified value."""
        return self._values.get(name)

    def given(self, name: str) -> Any:
        """The value, or None if it is absent or empty: tools send "" and null for blank fields."""
        value = self._values.get(name)
        if value is None:  # most fields of most bodies
            return None
        if isinstance(value, str):
            return value if value and not value.isspace() else None

        return None if isinstance(value, (dict, list)) and not value else value

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether one of these fields was sent, empty or not: most bodies have few of all."""
        return not names.isdisjoint(self._values)

    def problem(self, name: str, text: str) -> None:
        """Add a problem with one field."""
        self.notes.problem(self.path(name), text)

    def string(self, name: str, *, max_length: int | None = None) -> str | None:
        """A string, unmodified."""
        if self._values.get(name) is None:
            return None
        value: str | None = self._typed(name, str, "a string in quotes")
        if value is not None and max_length is not None and len(value) > max_length:
            self.problem(name, f"is too long: {len(value):,} characters, the maximum is {max_length:,}")
            return None

        return value

    def name(self, name: str, pattern: re.Pattern[str], rule: str) -> str | None:
        """A string that matches `pattern`; `rule` describes it."""
        if self._values.get(name) is None:
            return None
        value = self.string(name)
        if value is not None and not pattern.fullmatch(value):
            self.problem(name, f"must be {rule}")
            return None

        return value

    def choice(self, name: str, words: Sequence[str]) -> str | None:
        """One word of a closed set."""
        if self._values.get(name) is None:
            return None
        value = self.string(name)
        if value is not None and value not in words:
            self.problem(name, f"must be one of {', '.join(words)}, not “{safe_quote(value)}”")
            return None

        return value

    def number(self, name: str, *, low: float, high: float = math.inf, integer: bool = False) -> Any:
        """A number from `low` to `high`; a numeric string is accepted with a warning."""
        if self._values.get(name) is None or (value := self.given(name)) is None:
            return None
        expected = _range(low, high, integer=integer)
        if isinstance(value, str):
            value = self._numeral(name, value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problem(name, f"must be {expected}, not {kind(value)}")
            return None
        if abs(value) > _MAX_NUMBER:
            self.problem(name, f"must be {expected}: this number is too large")
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 4096.0 and 4096 are the same to JSON, so they are to the hash
        if (integer and not isinstance(value, int)) or not low <= value <= high:
            self.problem(name, f"must be {expected}, not {value}")
            return None

        self.clean[name] = value
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """An object, whose content the caller checks."""
        value: dict[str, Any] | None = self._typed(name, dict, "an object ({…})")
        return value

    def array(self, name: str) -> list[Any] | None:
        """A list, whose items the caller checks."""
        value: list[Any] | None = self._typed(name, list, "a list ([…])")
        return value

    def unknown(
        self,
        names: Iterable[str],
        *,
        elsewhere: Mapping[str, str] | None = None,
        meant: Mapping[str, str] | None = None,
    ) -> None:
        """
        Warn about fields that are not among `names`, and refuse probable misspellings.

        `elsewhere` maps names that belong to another object to the place where they would be read, `meant` names of
        other APIs to the field that does the same here: such a field is refused, as its job would be paid for nothing.
        """
        if not (unknown := set(self._values).difference(names)):
            return
        others, names = [name for name in self._values if name in unknown], tuple(names)
        shown = len(others) if len(others) <= MAX_WARNINGS else MAX_WARNINGS - 1
        for name in others[:shown]:
            here = self.path(safe_quote(name))
            right = suggest(name, tuple(meant or ()), slips=False)
            if right and meant and self.given(name) is not None:
                self.notes.problem(here, f"is not a field; did you mean {meant[right]}?")
                continue
            place = suggest(name, tuple(elsewhere or ()), slips=False)
            # `model` beside the prompt is options.model in the wrong place, not a misspelt `mode`.
            close = suggest(name, names, slips=place is None)
            if close:
                self.notes.problem(here, f"is not a field here; did you mean {self.path(close)}?")
            elif place and elsewhere:
                self.notes.warn(f"{here} was ignored: it is only read as {elsewhere[place]}")
            else:
                self.notes.warn(f"{here} is not a known field and was ignored")
        if more := others[shown:]:
            self.notes.warn(f"{len(more):,} more unknown fields were ignored")

    def _typed(self, name: str, expected: type, words: str) -> Any:
        if self._values.get(name) is None or (value := self.given(name)) is None:
            return None
        if not isinstance(value, expected):
            self.problem(name, f"must be {words}, not {kind(value)}")
            return None

        self.clean[name] = value
        return value

    def _numeral(self, name: str, text: str) -> Any:
        if not _NUMBER.fullmatch(text.strip()):
            return text
        if not self.notes.form:
            self.notes.warn(f"{self.path(name)} was a string (“{safe_quote(text)}”) and was read as a number")

        return float(text) if re.search(r"[.eE]", text) else int(text)


def kind(value: object) -> str:
    """The JSON type of a value in words; a string is never shown, since it may be a prompt."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if value is None:
        return "null"

    return "a list" if isinstance(value, list) else "an object"


@functools.lru_cache(maxsize=64)
def _range(low: float, high: float, *, integer: bool) -> str:
    noun = "a whole number" if integer else "a number"
    if math.isinf(high):
        return f"{noun} of at least {low:g}"

    return f"{noun} from {low:g} to {high:g}"
