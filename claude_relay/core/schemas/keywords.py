"""Keywords of JSON Schema (drafts 4 to 2020-12): those that hold schemas, and the type of each value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")

#: Keywords that apply a schema to the same value, not to a part of it.
IN_PLACE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies", "$ref")
)
#: Keywords that hold schemas which apply only where something refers to them.
DEFINITIONS = ("$defs", "definitions")

_ONE = frozenset(
    (
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    )
)
_LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
#: Keywords whose value has a schema for each name.
MAPS = frozenset(("properties", "patternProperties", "dependentSchemas", "dependencies", *DEFINITIONS))

Steps = tuple[str | int, ...]


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[Steps, Any]]:
    """The schemas directly inside this one, with the path to each; the values of its keywords have the right type."""
    for key, value in schema.items():
        if key in _ONE or (key == "items" and not isinstance(value, list)):
            yield (key,), value
        elif key in _LISTS or key == "items":
            for index, child in enumerate(value):
                yield (key, index), child
        elif key in MAPS:
            for name, child in value.items():
                if key != "dependencies" or not isinstance(child, list):
                    yield (key, name), child


def draft_number(url: str | None) -> int:
    """The draft that `$schema` names: 3, 4, 6, 7 or 2019; otherwise 2020."""
    return _DRAFTS.get((url or "").rstrip("#"), 2020)


def wrong_keyword(schema: Mapping[str, Any], *, draft: int) -> tuple[str, str] | None:
    """The first keyword whose value has the wrong type, and the right one in words."""
    for key, value in schema.items():
        if key == "items" and draft == 2020 and isinstance(value, list):
            return key, "one schema for all items, or use prefixItems"
        rule = _RULES.get(key)
        if rule is None or rule[0](value) or (draft <= 4 and key in _EXCLUSIVE and isinstance(value, bool)):
            continue
        return key, rule[1]

    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_schema_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _is_name_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_names(names) for names in value.values())


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and _is_names(value) and all(name in TYPES for name in value)

    return isinstance(value, str) and value in TYPES


def _is_dependencies(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        not isinstance(names, list) or _is_names(names) for names in value.values()
    )


_DRAFTS = {
    **{f"http://json-schema.org/draft-0{number}/schema": number for number in (3, 4, 6, 7)},
    "https://json-schema.org/draft/2019-09/schema": 2019,
}
_EXCLUSIVE = ("exclusiveMinimum", "exclusiveMaximum")
_ANNOTATIONS = frozenset(
    ("const", "default", "discriminator", "example", "externalDocs", "xml", "$vocabulary", "$recursiveAnchor")
)
_Rule = tuple[Callable[[Any], bool], str]


def _rules() -> Iterator[tuple[str, _Rule]]:
    groups: tuple[tuple[tuple[str, ...], _Rule], ...] = (
        (("type",), (_is_type, f"one of {', '.join(TYPES)}, or a list of them")),
        (("enum", "examples"), (_is_list, "a list of values")),
        (tuple(_LISTS), (_is_schema_list, "a list of schemas")),
        (tuple(MAPS), (_is_map, "an object with a schema for each name")),
        (("items",), (lambda value: not _is_list(value) or (bool(value) and all(map(_is_schema, value))), "a schema")),
        (("dependencies",), (_is_dependencies, "an object with a schema or a list of names for each name")),
        (("required",), (_is_names, "a list of different names")),
        (("dependentRequired",), (_is_name_map, "an object with a list of names for each name")),
        (("minimum", "maximum", *_EXCLUSIVE), (_is_number, "a number")),
        (("multipleOf",), (_is_positive, "a number greater than 0")),
        (("uniqueItems", "deprecated", "readOnly", "writeOnly", "nullable"), (_is_flag, "true or false")),
        (
            ("$schema", "$id", "id", "$ref", "$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$comment"),
            (_is_text, "a string"),
        ),
        (
            ("title", "description", "format", "pattern", "contentEncoding", "contentMediaType"),
            (_is_text, "a string"),
        ),
    )
    for names, rule in groups:
        for name in names:
            yield name, rule
    for what in ("Length", "Items", "Properties", "Contains"):
        for bound in ("min", "max"):
            yield bound + what, (_is_count, "a whole number of 0 or more")


def _is_schema(value: Any) -> bool:
    return isinstance(value, (Mapping, bool))


_RULES: Mapping[str, _Rule] = dict(_rules())
#: The keywords to which a draft of JSON Schema, or OpenAPI, gives a meaning.
KEYWORDS = frozenset((*_RULES, *_ONE, *_ANNOTATIONS))
