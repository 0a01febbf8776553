"""Form-encoded bodies, for tools that escape forms but not JSON: `options.model=…`, `files[0].data=…`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...errors import InvalidRequest
from ..text.json_values import safe_quote
from ..text.strict_json import ValueBudget, loads
from .fields import Diagnostics

#: Fields whose value may be JSON.
_JSON = (
    "options",
    "webhookHeaders",
    "metadata",
    "variables",
    "files",
    "messages",
    "outputSchema",
    "options.outputSchema",
    "options.raw",
)

#: Fields whose value is JSON if it begins like a list or an object.
_LISTS = (
    "rows",
    "jobs",
    *(
        f"{before}{name}"
        for before in ("", "options.")
        for name in ("checks", "tools", "toolChoice", "thinking", "stopSequences", "fallbackModels")
    ),
)

#: Objects whose keys are the caller's own and may contain dots.
_FLAT = ("metadata", "webhookHeaders", "variables")

_STEP = re.compile(r"[^.\[\]]+")

#: Names in brackets after the first, as PHP's http_build_query and the qs library write nested fields.
_BRACKETS = re.compile(r"(\[[^\[\]]*\])+")
_NEXT = -1  # `[]`: the next place in a list
_MAX_DEPTH = 8
_MAX_NAME = 512

_Node = dict[Any, Any]


def from_form(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The body that the pairs describe, for `parse(…, form=True)`; `InvalidRequest` if they are contradictory."""
    notes = Diagnostics()
    body: _Node = {}
    # One budget for the JSON of all fields: each alone may be within the limit.
    budget = ValueBudget()
    for name, text in pairs:
        if name != name.lstrip():
            notes.problem(
                safe_quote(name.strip()) or "body", "begins with a space: inside a value, & must be sent as %26"
            )
            continue
        steps = _steps(name) if len(name) <= _MAX_NAME else []
        if not steps or len(steps) > _MAX_DEPTH:
            notes.problem(safe_quote(name) or "body", "is not a field name")
            continue
        problem = _put(body, steps, _value(name, steps, text, notes, budget))
        if problem:
            notes.problem(safe_quote(name), problem)

    if notes.problems:
        raise InvalidRequest(problems=notes.problems)

    return {name: _lists(value) for name, value in body.items()}


def _steps(name: str) -> list[str | int]:
    """`files[0].data` and `files.0.data` as `["files", 0, "data"]`; `a[b][]` as `["a", "b", _NEXT]`."""
    first = _STEP.match(name)
    if not first:
        return []
    rest = name[first.end() :]
    if _BRACKETS.fullmatch(rest):
        words = rest[1:-1].split("][")
        if first[0] in _FLAT:  # its own keys are never numbers: it is no list
            return [first[0], words[0], *map(_step, words[1:])] if words[0] else [first[0]]
        return [first[0], *map(_step, words)]
    if first[0] in _FLAT:
        return [first[0], rest[1:]] if rest[1:] else [first[0]]

    return [first[0], *map(_step, _STEP.findall(rest))]


def _step(word: str) -> str | int:
    return int(word) if word.isdecimal() and len(word) <= 4 else word or _NEXT


def _value(name: str, steps: list[str | int], text: str, notes: Diagnostics, budget: ValueBudget) -> Any:
    path = ".".join(map(str, steps))
    is_json = path in _JSON or (path in _LISTS and text.lstrip().startswith(("[", "{")))
    if not is_json or not text.strip():
        return text
    try:
        return loads(text.encode("utf-8", "surrogatepass"), budget=budget)
    except InvalidRequest as exc:
        for problem in exc.problems:
            place = "" if problem.field == "body" else f" ({problem.field})"
            notes.problem(safe_quote(name), f"{problem.problem}{place}")

    return None


def _put(body: _Node, steps: list[str | int], value: Any) -> str | None:
    """Insert the value at its path, or return the problem."""
    node = body
    for step in steps[:-1]:
        node = node.setdefault(step, _Branch())
        if not isinstance(node, _Branch):
            return "is given both as one value and in parts"

    last = steps[-1]
    if last == _NEXT:
        last = len(node)
    if last in node:
        return "is given both as one value and in parts" if isinstance(node[last], _Branch) else "is given twice"
    node[last] = value

    return None


class _Branch(dict[Any, Any]):
    """An object assembled from several pairs, as opposed to one given as JSON."""


def _lists(value: Any) -> Any:
    """Convert branches whose keys are all numbers to lists, in the order of the numbers."""
    if not isinstance(value, _Branch):
        return value
    if value and all(isinstance(key, int) for key in value):
        return [_lists(value[key]) for key in sorted(value)]

    return {str(key): _lists(child) for key, child in value.items()}
