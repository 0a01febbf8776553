"""Short forms of the JSON Schemas in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

_FORMATS: Mapping[str, Schema] = {
    "time": {"type": "string", "format": "date-time"},
    "uri": {"type": "string", "format": "uri"},
}


def shape(kind: str | Schema, text: str = "") -> Schema:
    """
    The schema of a word: a JSON type, `time`, `uri` or the name of a component.

    A `?` at its end allows null, too; `[]` makes it a list.
    """
    if isinstance(kind, dict):
        schema = dict(kind)
    elif kind.endswith("?"):
        schema = _or_null(shape(kind[:-1]))
    elif kind.endswith("[]"):
        schema = {"type": "array", "items": shape(kind[:-2])}
    elif kind in _FORMATS:
        schema = dict(_FORMATS[kind])
    elif kind[0].isupper():
        schema = {"$ref": f"#/components/schemas/{kind}"}
    else:
        schema = {"type": kind}

    return schema | ({"description": text} if text else {})


def fields(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, text: str = "") -> Schema:
    """An object with these fields, each a word for `shape`, or a pair of word and description; others may follow."""
    properties = {
        name: shape(*kind) if isinstance(kind, tuple) else shape(kind)
        for name, kind in {**required, **(optional or {})}.items()
    }
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)

    return schema | ({"description": text} if text else {})


def one_of(values: Sequence[str]) -> Schema:
    """One of these strings."""
    return {"type": "string", "enum": list(values)}


def _or_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}

    return {"anyOf": [schema, {"type": "null"}]}
