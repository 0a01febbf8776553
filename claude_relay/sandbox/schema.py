"""
Validation of JSON Schemas for structured output, which `schema_faker` generates values for.

`check` refuses what Anthropic refuses (objects without `additionalProperties: false`, external references) and the
keywords that are not supported here. A schema that passes gets a value that validates, the same for the same prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from claude_relay.sandbox.problem import invalid

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
REFUSED = (
    *("not", "if", "then", "else", "patternProperties", "propertyNames", "contains", "dependentSchemas"),
    *("dependentRequired", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"),
)
MOST_ITEMS = 1000
MOST_CHARACTERS = 100_000
DEEPEST = 60


def check(schema: Any, *, where: str) -> None:
    """Raise the first problem of a schema, in the shape of Anthropic's errors."""
    for node, path in _nodes(schema, schema, where):
        _check_node(node, path, schema)


def types_of(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that a node allows, in order; inferred from its keywords where it names none."""
    named = node.get("type")
    if isinstance(named, str):
        return (named,)
    if isinstance(named, list | tuple):
        return tuple(named)
    for keyword, kind in (
        *(("properties", "object"), ("required", "object"), ("items", "array"), ("prefixItems", "array")),
        *(("minItems", "array"), ("minimum", "number"), ("maximum", "number"), ("multipleOf", "number")),
        *(("exclusiveMinimum", "number"), ("exclusiveMaximum", "number")),
    ):
        if keyword in node:
            return (kind,)
    return ()


def resolve(root: Mapping[str, Any], ref: str) -> Any:
    """The target of a reference inside the document; raises KeyError if there is none."""
    if not ref.startswith("#"):
        raise KeyError(ref)
    target: Any = root
    for part in filter(None, ref[1:].split("/")):
        key = part.replace("~1", "/").replace("~0", "~")
        target = (
            target[int(key)] if isinstance(target, list) and key.isdigit() and int(key) < len(target) else target[key]
        )
    return target


def _nodes(node: Any, root: Any, path: str, depth: int = 0) -> Iterator[tuple[Any, str]]:
    """Every schema in the document, with its path."""
    if depth > DEEPEST:
        raise invalid(path, "the schema is nested too deeply")
    yield node, path
    if not isinstance(node, dict):
        return
    for keyword in ("properties", "$defs", "definitions"):
        children = node.get(keyword, {})
        if not isinstance(children, dict):
            raise invalid(f"{path}.{keyword}", "Input should be an object")
        for name, child in children.items():
            yield from _nodes(child, root, f"{path}.{keyword}.{name}", depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        children = node.get(keyword, [])
        if not isinstance(children, list) or (keyword in node and not children):
            raise invalid(f"{path}.{keyword}", "Input should be a list with at least one schema")
        for index, child in enumerate(children):
            yield from _nodes(child, root, f"{path}.{keyword}.{index}", depth + 1)
    if "items" in node:
        yield from _nodes(node["items"], root, f"{path}.items", depth + 1)


def _check_node(node: Any, path: str, root: Mapping[str, Any]) -> None:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        raise invalid(path, "Input should be a schema object")
    for keyword in REFUSED:
        if keyword in node:
            raise invalid(path, f"'{keyword}' is not supported")
    _check_types(node, path)
    _check_reference(node, path, root)
    _check_bounds(node, path)
    if "enum" in node and (not isinstance(node["enum"], list) or not node["enum"]):
        raise invalid(f"{path}.enum", "Input should be a list with at least one value")
    required = node.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise invalid(f"{path}.required", "Input should be a list of names")


def _check_types(node: Mapping[str, Any], path: str) -> None:
    named = node.get("type", [])
    listed: Sequence[Any] = named if isinstance(named, list) else [named]
    for kind in listed:
        if kind not in TYPES:
            raise invalid(f"{path}.type", f"must be one of {', '.join(TYPES)}")
    if "object" in types_of(node) and node.get("additionalProperties") is not False:
        raise invalid(path, "For 'object' type, 'additionalProperties' must be explicitly set to false")


def _check_reference(node: Mapping[str, Any], path: str, root: Mapping[str, Any]) -> None:
    if "$ref" not in node:
        return
    ref = node["$ref"]
    if not isinstance(ref, str) or not ref.startswith("#"):
        raise invalid(f"{path}.$ref", "only references within the schema ('#/…') are supported")
    try:
        resolve(root, ref)
    except (KeyError, TypeError) as exc:
        raise invalid(f"{path}.$ref", f"{ref[:100]} has no target") from exc


def _check_bounds(node: Mapping[str, Any], path: str) -> None:
    for keyword, most in (
        *(("minItems", MOST_ITEMS), ("minLength", MOST_CHARACTERS)),
        *(("maxItems", None), ("maxLength", None)),
    ):
        value = node.get(keyword, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0 or (most is not None and value > most):
            raise invalid(f"{path}.{keyword}", f"must be a whole number{f' up to {most}' if most else ''}")
    for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
        value = node.get(keyword, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or (keyword == "multipleOf" and value <= 0):
            raise invalid(f"{path}.{keyword}", "must be a number")
    try:
        re.compile(node.get("pattern", ""))
    except (re.error, TypeError) as exc:
        raise invalid(f"{path}.pattern", "is not a valid regular expression") from exc
