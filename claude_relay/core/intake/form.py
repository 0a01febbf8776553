"""Form posts, for tools that escape forms and not JSON: `options.model=…`, `files[0].data=…`, `metadata={…}`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...errors import InvalidRequest
from ..text.json_values import safe_quote
from ..text.strict_json import loads
from .fields import Diagnostics

#: Fields whose text is JSON when it is given whole.
_JSON = ("options", "webhookHeaders", "metadata", "files", "messages", "options.outputSchema", "options.raw")

#: Objects whose fields are the caller's own words, dots and all.
_FLAT = ("metadata", "webhookHeaders")

_STEP = re.compile(r"[^.\[\]]+")
_DEEPEST = 8
_LONGEST_NAME = 512

_Node = dict[Any, Any]


def from_form(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The body that the pairs spell, for `parse(…, form=True)`; `InvalidRequest` where they contradict each other."""
    notes = Diagnostics()
    body: _Node = {}
    for name, text in pairs:
        steps = _steps(name) if len(name) <= _LONGEST_NAME else []
        if not steps or len(steps) > _DEEPEST:
            notes.problem(safe_quote(name) or "body", "is not the name of a field")
            continue
        problem = _put(body, steps, _value(name, steps, text, notes))
        if problem:
            notes.problem(safe_quote(name), problem)

    if notes.problems:
        raise InvalidRequest(problems=notes.problems)

    return {name: _lists(value) for name, value in body.items()}


def _steps(name: str) -> list[str | int]:
    """`files[0].data` and `files.0.data` as `["files", 0, "data"]`."""
    first = _STEP.match(name)
    if not first:
        return []
    rest = name[first.end() :]
    if first[0] in _FLAT:
        inner = rest[1:-1] if rest.startswith("[") and rest.endswith("]") else rest[1:]
        return [first[0], inner] if inner else [first[0]]

    words = _STEP.findall(rest)
    return [first[0], *(int(word) if word.isdecimal() and len(word) <= 4 else word for word in words)]


def _value(name: str, steps: list[str | int], text: str, notes: Diagnostics) -> Any:
    if ".".join(map(str, steps)) not in _JSON or not text.strip():
        return text
    try:
        return loads(text.encode("utf-8", "surrogatepass"))
    except InvalidRequest as exc:
        for one in exc.problems:
            notes.problem(safe_quote(name), one.problem if one.field == "body" else f"{one.problem} ({one.field})")

    return None


def _put(body: _Node, steps: list[str | int], value: Any) -> str | None:
    """Hang the value where it belongs, or say why it cannot be."""
    node = body
    for step in steps[:-1]:
        node = node.setdefault(step, _Branch())
        if not isinstance(node, _Branch):
            return "is given both whole and in parts"

    last = steps[-1]
    if last in node:
        return "is given both whole and in parts" if isinstance(node[last], _Branch) else "is given twice"
    node[last] = value

    return None


class _Branch(dict[Any, Any]):
    """An object put together from parts, as against one that was given whole."""


def _lists(value: Any) -> Any:
    """Branches whose keys are all numbers are lists, in the numbers' order."""
    if not isinstance(value, _Branch):
        return value
    if value and all(isinstance(key, int) for key in value):
        return [_lists(value[key]) for key in sorted(value)]

    return {str(key): _lists(each) for key, each in value.items()}
