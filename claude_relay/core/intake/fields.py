"""Reading the fields of one object: typed, forgiving as the contract says, and never stopping at the first fault."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import Problem
from ..text.json_values import safe_quote
from ..text.suggestions import suggest

#: More than these help nobody, and a hostile body could have a million.
MOST_PROBLEMS = 100
MOST_WARNINGS = 20

_LARGEST = 10**12
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


class Diagnostics:
    """What is found along the way: problems refuse the body, warnings go out with the 202."""

    def __init__(self, *, form: bool = False) -> None:
        self.form = form  # a form's values are all texts, which nobody needs to be told
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def problem(self, field: str, text: str) -> None:
        """Something the caller must mend."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(field=field, problem=text))

    def warn(self, text: str) -> None:
        """Something that was read otherwise than it was written."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)


class Fields:
    """
    One object of the body, at the path `at`.

    A getter answers None where the field is absent, empty or wrong; in the last case the problem is noted. What was
    read ends up in `clean`: the caller's own values, for the hash by which a repeat is known.
    """

    def __init__(self, values: Mapping[str, Any], notes: Diagnostics, *, at: str = "") -> None:
        self.notes = notes
        self.clean: dict[str, Any] = {}
        self._values = values
        self._at = at

    def path(self, name: str) -> str:
        """The field's name as the caller should read it."""
        return f"{self._at}.{name}" if self._at else name

    def as_sent(self, name: str) -> Any:
        """Its value as it came."""
        return self._values.get(name)

    def given(self, name: str) -> Any:
        """Its value, or None where it is absent or empty: tools send "" and null for what was left blank."""
        value = self._values.get(name)
        if isinstance(value, str):
            return value if value and not value.isspace() else None

        return None if isinstance(value, (dict, list)) and not value else value

    def problem(self, name: str, text: str) -> None:
        """Something wrong with one field."""
        self.notes.problem(self.path(name), text)

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        """A text, as it is."""
        value = self._typed(name, str, "a text in quotes")
        if value is not None and longest is not None and len(value) > longest:
            return self._wrong(name, f"is too long: at most {longest:,} characters, this has {len(value):,}")

        return value

    def name(self, name: str, pattern: re.Pattern[str], rule: str) -> str | None:
        """A text of a small alphabet."""
        value = self.text(name)
        if value is not None and not pattern.fullmatch(value):
            return self._wrong(name, f"must be {rule}")

        return value

    def word(self, name: str, words: Sequence[str]) -> str | None:
        """One word of a closed set."""
        value = self.text(name)
        if value is not None and value not in words:
            return self._wrong(name, f"must be one of {', '.join(words)}, not “{safe_quote(value)}”")

        return value

    def number(self, name: str, *, low: float, high: float = math.inf, whole: bool = False) -> Any:
        """A number within its bounds; as a text it is taken with a warning."""
        value = self.given(name)
        if value is None:
            return None
        wanted = _range(low, high, whole=whole)
        if isinstance(value, str):
            value = self._numeral(name, value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self._wrong(name, f"must be {wanted}: this is {kind(value)}")
        if abs(value) > _LARGEST:
            return self._wrong(name, f"must be {wanted}: this one is larger than anything it could mean")
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 4096.0 and 4096 are the same to JSON, so they are to the hash
        if (whole and not isinstance(value, int)) or not low <= value <= high:
            return self._wrong(name, f"must be {wanted}, not {value}")

        self.clean[name] = value
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """An object, looked into by whoever asked."""
        return self._typed(name, dict, "an object ({…})")

    def array(self, name: str) -> list[Any] | None:
        """A list, likewise."""
        return self._typed(name, list, "a list ([…])")

    def unknown(self, known: Iterable[str], *, elsewhere: Mapping[str, str] | None = None) -> None:
        """
        Say what is ignored, and refuse what is probably a slip.

        `elsewhere`: names that belong to another object, with the place where they would be read.
        """
        names = tuple(known)
        others = [name for name in self._values if name not in names]
        for name in others[:MOST_WARNINGS]:
            here = self.path(safe_quote(name))
            place = suggest(name, tuple(elsewhere or ()), slips=False)
            # `model` beside the prompt is options.model in the wrong place, not `mode` misspelt.
            close = suggest(name, names, slips=place is None)
            if close:
                self.notes.problem(here, f"is not a field here; did you mean {self.path(close)}?")
            elif place and elsewhere:
                self.notes.warn(f"{here} was ignored: it is only read as {elsewhere[place]}")
            else:
                self.notes.warn(f"{here} is not a known field and was ignored")
        if len(others) > MOST_WARNINGS:
            self.notes.warn(f"{len(others) - MOST_WARNINGS:,} more unknown fields were ignored")

    def _typed(self, name: str, wanted: type, words: str) -> Any:
        value = self.given(name)
        if value is None:
            return None
        if not isinstance(value, wanted):
            return self._wrong(name, f"must be {words}: this is {kind(value)}")

        self.clean[name] = value
        return value

    def _numeral(self, name: str, text: str) -> Any:
        if not _NUMBER.fullmatch(text.strip()):
            return text
        if not self.notes.form:
            self.notes.warn(f"{self.path(name)} was a text (“{safe_quote(text)}”) and was taken as a number")

        return float(text) if re.search(r"[.eE]", text) else int(text)

    def _wrong(self, name: str, text: str) -> Any:
        """Notes the problem; answers None, as every getter does where there is one."""
        self.clean.pop(name, None)
        self.problem(name, text)

        return None


def kind(value: object) -> str:
    """What a value is, in a caller's words; texts are named, never shown, since any of them may be a prompt."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if value is None:
        return "null"

    return "a list" if isinstance(value, list) else "an object"


def _range(low: float, high: float, *, whole: bool) -> str:
    noun = "a whole number" if whole else "a number"
    if math.isinf(high):
        return f"{noun} of at least {low:g}"

    return f"{noun} from {low:g} to {high:g}"
