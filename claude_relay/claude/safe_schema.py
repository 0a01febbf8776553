"""
JSON Schemas that come to an end: a caller's patterns and references may be written so that checking takes for ever.

Patterns are matched by `regex`, which can be given a time and lets other threads run meanwhile; the standard library's
`re` can do neither, and one unlucky pattern would stop the whole process. Every keyword looks at the clock, too, since
references that double themselves thirty times need no pattern.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: How long one answer may be checked, in seconds.
LONGEST = 5.0
_LONGEST_PATTERN = 10_000
_DATA = ("enum", "const", "default", "examples")

_now = threading.local()


class ValidationTimeout(Exception):
    """The check was given up."""


def validator(schema: Mapping[str, Any]) -> Any:
    """A validator for that schema, of the draft that it names; to be used `within` a time."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    kind = validators.validator_for(schema, default=Draft202012Validator)
    # With a registry of its own it never fetches a `$ref` from the network, as it would by default.
    return _bounded(kind)(_of_one_draft(schema), registry=Registry())


@contextmanager
def time_limit(seconds: float = LONGEST) -> Iterator[None]:
    """Whatever is checked in the block in this thread raises `TooLong` once the time is up."""
    _now.ends = time.monotonic() + seconds
    try:
        yield
    finally:
        _now.ends = None


def pattern_problem(schema: Any) -> str | None:
    """What is wrong with the schema's patterns; None where nothing is."""
    import regex

    for pattern in _patterns(schema):
        if len(pattern) > _LONGEST_PATTERN:
            return f"a pattern of {len(pattern):,} characters is too long: at most {_LONGEST_PATTERN:,}"
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as exc:
            return f"the pattern {_shown(pattern)} is no regular expression ({exc})"

    return None


def _patterns(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        if isinstance(node.get("patternProperties"), Mapping):
            yield from node["patternProperties"]
        for key, value in node.items():
            if key not in _DATA:
                yield from _patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from _patterns(value)


def _of_one_draft(node: Any) -> Any:
    """Without `$schema` further down: there it would bring back a validator that knows no time."""
    if isinstance(node, Mapping):
        return {
            key: value if key in _DATA else _of_one_draft(value)
            for key, value in node.items()
            if key != "$schema" or not isinstance(value, str)
        }

    return [_of_one_draft(value) for value in node] if isinstance(node, list) else node


@functools.cache
def _bounded(kind: Any) -> Any:
    from jsonschema import validators

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    return validators.extend(kind, {name: _timed(own.get(name, check)) for name, check in kind.VALIDATORS.items()})


def _timed(check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _left()
        yield from check(validator, value, instance, schema) or ()

    return timed


def _left() -> float:
    ends = getattr(_now, "ends", None)
    left = LONGEST if ends is None else ends - time.monotonic()
    if left <= 0:
        raise ValidationTimeout

    return left


def _found(pattern: str, text: str) -> bool:
    import regex

    try:
        return regex.search(pattern, text, timeout=_left(), concurrent=True) is not None
    except TimeoutError as exc:
        raise ValidationTimeout from exc


# These three, as jsonschema has them, but for how a pattern is matched.
def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield ValidationError("does not match its pattern")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [name for name in instance if name not in known and not any(_found(one, name) for one in patterns)]
    if validator.is_type(allowed, "object"):
        for name in more:
            yield from validator.descend(instance[name], allowed, path=name)
    elif not allowed and more:
        yield ValidationError("has properties that are not allowed")


def _shown(pattern: str) -> str:
    return pattern if len(pattern) <= 60 else pattern[:59] + "…"
