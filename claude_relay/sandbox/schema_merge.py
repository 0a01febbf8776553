"""Merging of two JSON Schemas, for allOf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_relay.sandbox.schema import types_of


class UnsatisfiableSchema(Exception):
    """No value can be generated here: take another branch, or omit an optional field."""


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that requires what either of the two requires."""
    result = dict(first)
    for key, value in second.items():
        if key not in result:
            result[key] = value
        elif key == "properties":
            both = {name: {"allOf": [result[key][name], value[name]]} for name in value if name in result[key]}
            result[key] = {**result[key], **value, **both}
        elif key == "required":
            result[key] = [*result[key], *(name for name in value if name not in result[key])]
        elif key in ("minimum", "exclusiveMinimum", "minLength", "minItems"):
            result[key] = max(result[key], value)
        elif key in ("maximum", "exclusiveMaximum", "maxLength", "maxItems"):
            result[key] = min(result[key], value)
        elif key == "enum":
            result[key] = [item for item in result[key] if item in value]
        elif key == "type":
            result[key] = _common_types(types_of(first), types_of(second))
        elif key in ("anyOf", "oneOf"):
            result[key] = [{"allOf": [branch, {key: value}]} for branch in result[key]]
        else:
            result[key] = value
    return result


def _common_types(first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
    """The types that both allow; an integer is also a number."""
    common = [name for name in dict.fromkeys((*first, *second)) if _allows(first, name) and _allows(second, name)]
    if not common:
        raise UnsatisfiableSchema("two parts of it disagree about the type")
    return common


def _allows(names: tuple[str, ...], name: str) -> bool:
    return name in names or (name == "integer" and "number" in names)
