"""
JSON Schema validation with a time limit: a caller's patterns and references can make validation take for ever.

Patterns are matched by `regex`, which has a timeout and lets other threads run meanwhile; the standard library's `re`
has neither, and a single bad pattern would stop the whole process. Every keyword checks the clock, too, since
references that double thirty times need no pattern.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Time limit for validating one answer, in seconds.
TIME_LIMIT = 5.0
_MAX_PATTERN = 10_000
_DATA = ("enum", "const", "default", "examples")

_limit = threading.local()


class ValidationTimeout(Exception):
    """Validation took longer than its time limit."""


def validator(schema: Mapping[str, Any]) -> Any:
    """A validator for the schema, of the draft that it names; use it inside `time_limit`."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    kind = validators.validator_for(schema, default=Draft202012Validator)
    # With its own registry it never fetches a `$ref` over the network, as it does by default.
    return _bounded(kind)(_without_schema_keyword(schema), registry=Registry())


@contextmanager
def time_limit(seconds: float = TIME_LIMIT) -> Iterator[None]:
    """Limit validation in the block and in this thread; it raises `ValidationTimeout` after `seconds`."""
    _limit.ends_at = time.monotonic() + seconds
    try:
        yield
    finally:
        _limit.ends_at = None


def pattern_problem(schema: Any) -> str | None:
    """Why a pattern of the schema cannot be used; None if all can."""
    import regex

    for pattern in _patterns(schema):
        if len(pattern) > _MAX_PATTERN:
            return f"a pattern of {len(pattern):,} characters is too long: at most {_MAX_PATTERN:,}"
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as exc:
            return f"the pattern {_shortened(pattern)} is not a regular expression ({exc})"

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


def _without_schema_keyword(node: Any) -> Any:
    """Remove nested `$schema`, which would switch to a validator without the time limit."""
    if isinstance(node, Mapping):
        return {
            key: value if key in _DATA else _without_schema_keyword(value)
            for key, value in node.items()
            if key != "$schema" or not isinstance(value, str)
        }

    return [_without_schema_keyword(value) for value in node] if isinstance(node, list) else node


@functools.cache
def _bounded(kind: Any) -> Any:
    from jsonschema import validators

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    extend: Any = validators.extend
    return extend(kind, {name: _timed(own.get(name, check)) for name, check in kind.VALIDATORS.items()})


def _timed(check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _remaining()
        yield from check(validator, value, instance, schema) or ()

    return timed


def _remaining() -> float:
    ends_at = getattr(_limit, "ends_at", None)
    remaining = TIME_LIMIT if ends_at is None else ends_at - time.monotonic()
    if remaining <= 0:
        raise ValidationTimeout

    return remaining


def _matches(pattern: str, text: str) -> bool:
    import regex

    try:
        return regex.search(pattern, text, timeout=_remaining(), concurrent=True) is not None
    except TimeoutError as exc:
        raise ValidationTimeout from exc


# The next three are jsonschema's own checks, except for how a pattern is matched.
def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield ValidationError("does not match its pattern")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [
        name for name in instance if name not in properties and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(allowed, "object"):
        for name in more:
            yield from validator.descend(instance[name], allowed, path=name)
    elif not allowed and more:
        yield ValidationError("has properties that are not allowed")


def _shortened(pattern: str) -> str:
    return pattern if len(pattern) <= 60 else pattern[:59] + "…"
