"""
JSON Schema validation with a time limit: a caller's patterns and references can make validation take for ever.

Patterns are matched by `regex`, which has a timeout and lets other threads run meanwhile; the standard library's `re`
has neither, and a single bad pattern would stop the whole process. Its memory has no limit (*measured*: 1.1 GB to match
`(?R)?a`, 4 GB to compile a group that is repeated a thousand times in another such), so that patterns are matched, and
the heavy ones compiled, in a bounded process. Every keyword checks the clock, too, since references that double thirty
times need no pattern.
"""

from __future__ import annotations

import functools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from ..core.schemas.keywords import MAPS
from .bounded_process import PROCESSES, NoProcess, WorkFailed

#: Time limit for validating one answer, in seconds.
TIME_LIMIT = 5.0
_MAX_PATTERN = 10_000
#: Elements of a compiled pattern, of up to a kilobyte each; one of more is heavy.
_MAX_ELEMENTS = 50_000
#: Time limit for compiling the patterns of one schema, in seconds.
_COMPILE = 1.0
#: A counted repetition, and the ends of a group or of another repetition.
_REPETITION, _NESTING = re.compile(r"\{(?:(\d+)|(?=,))(?:,(\d*))?\}"), re.compile(r"[)}?+*\s]")
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


def pattern_problem(nodes: Iterable[Mapping[str, Any]]) -> str | None:
    """Why a pattern of these schemas cannot be used; None if all can."""
    patterns = list(_patterns(nodes))
    if sum(map(len, patterns)) > _MAX_PATTERN:
        return f"its patterns are too long: at most {_MAX_PATTERN:,} characters together"
    if not any(map(_is_heavy, patterns)):
        return compile_problem(patterns)
    try:
        problem: str | None = PROCESSES.run("compile", json.dumps(patterns).encode(), seconds=_COMPILE)
    except NoProcess:
        return None  # matching is bounded, too
    except WorkFailed as exc:
        return f"its patterns take too much {exc.reason if exc.reason == 'time' else 'memory'} to compile"

    return problem


def has_heavy_pattern(schema: Any) -> bool:
    """Whether a pattern in the schema, or a name that may be one, takes more than a moment to compile."""
    rest = [schema]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if isinstance(value.get("pattern"), str) and _is_heavy(value["pattern"]):
                return True
            names = value.get("patternProperties")
            if isinstance(names, dict) and any(map(_is_heavy, names)):
                return True
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)

    return False


def has_patterns(schema: Mapping[str, Any]) -> bool:
    """Whether there may be patterns in the schema."""
    return '"pattern' in json.dumps(schema)


def _is_heavy(pattern: str) -> bool:
    """Whether the compiled pattern may have many elements: an upper bound, by its length and its repetitions."""
    single, nested = 0, 1
    for match in _REPETITION.finditer(pattern):
        digits = match[2] or match[1] or "1"
        count = int(digits) if len(digits) <= 6 else _MAX_ELEMENTS
        if _NESTING.fullmatch(pattern[: match.start()][-1:]):
            nested *= max(1, count)
        else:
            single += count

    return (len(pattern) + single) * nested > _MAX_ELEMENTS


def compile_problem(patterns: Iterable[str]) -> str | None:
    """Why one of the patterns is not a regular expression."""
    import regex

    for pattern in patterns:
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as exc:
            return f"the pattern {_shortened(pattern)} is not a regular expression ({exc})"

    return None


def _patterns(nodes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        yield from node.get("patternProperties", ())


def _without_schema_keyword(node: Any, *, names: bool = False) -> Any:
    """
    Remove nested `$schema`, which would switch to a validator without the time limit.

    `names`: the keys are names that the caller chose, such as those of properties.
    """
    if isinstance(node, Mapping):
        return {
            key: value
            if key in _DATA and not names
            else _without_schema_keyword(value, names=key in MAPS and not names)
            for key, value in node.items()
            if names or key != "$schema" or not isinstance(value, str)
        }

    return [_without_schema_keyword(value) for value in node] if isinstance(node, list) else node


@functools.cache
def _bounded(kind: Any) -> Any:
    from jsonschema import validators

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
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


def _multiple_of(validator: Any, factor: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    """Check by the decimals as written: in binary floating point, 19.99 is no multiple of 0.01."""
    from jsonschema import ValidationError

    if validator.is_type(instance, "number") and not _is_multiple(instance, factor):
        yield ValidationError("is not a multiple")


def _is_multiple(number: float, factor: float) -> bool:
    if not math.isfinite(number):
        return False

    return (Fraction(repr(number)) / Fraction(repr(factor))).denominator == 1


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
