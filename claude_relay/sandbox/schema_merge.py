"""Two JSON Schemas made one, as allOf asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_relay.sandbox.schema import types_of


class UnsatisfiableSchema(Exception):
    """No value here: take another branch, or leave the field out where it may be left out."""


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas at once: what either asks for is asked for."""
    result = dict(one)
    for key, value in other.items():
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
            result[key] = _shared(types_of(one), types_of(other))
        elif key in ("anyOf", "oneOf"):
            result[key] = [{"allOf": [branch, {key: value}]} for branch in result[key]]
        else:
            result[key] = value
    return result


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> list[str]:
    """The types that both allow; an integer is a number too."""
    shared = [name for name in dict.fromkeys((*one, *other)) if _allows(one, name) and _allows(other, name)]
    if not shared:
        raise UnsatisfiableSchema("two parts of it disagree about the type")
    return shared


def _allows(names: tuple[str, ...], name: str) -> bool:
    return name in names or (name == "integer" and "number" in names)
