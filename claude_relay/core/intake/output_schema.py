"""Parsing of `options.outputSchema`: wrappers of other APIs are opened, values that only look like a schema refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..schemas.keywords import KEYWORDS, TYPES, subschemas
from ..text.json_values import safe_quote

if TYPE_CHECKING:
    from .context import IntakeContext
    from .fields import Fields

#: Keywords without which a schema checks nothing.
_ASSERTIONS = KEYWORDS - {
    "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "nullable",
    "$schema", "$id", "id", "$comment", "$anchor", "$dynamicAnchor", "$vocabulary", "$recursiveAnchor", "$defs",
    "definitions", "discriminator", "externalDocs", "xml", "contentEncoding", "contentMediaType", "contentSchema",
}  # fmt: skip
_SHAPES = ("properties", "patternProperties", "additionalProperties", "$ref", "allOf", "anyOf", "oneOf")
#: Where other APIs put the schema, and the fields that stand beside it there.
_WRAPPERS = {
    "json_schema": {"type", "json_schema"},
    "schema": {"type", "name", "strict", "schema", "description"},
    "input_schema": {"type", "name", "strict", "input_schema", "description", "cache_control"},
    "parameters": {"type", "name", "strict", "parameters", "description"},
    "function": {"type", "function"},
    "format": {"format"},
    "response_format": {"response_format"},
}
_OPENAPI = ("openapi", "swagger", "paths", "components", "info")
#: Keywords that stay outside when a schema becomes one of two choices.
_OUTSIDE = ("title", "description", "default", "$defs", "definitions", "$schema", "$id")
_CLOSE = 'an object is described as {"type": "object", "properties": {"invoiceNumber": {"type": "string"}}}'


def read_output_schema(fields: Fields, context: IntakeContext) -> dict[str, Any] | None:
    """The schema to store: taken out of a wrapper, with OpenAPI's `nullable` as JSON Schema writes it."""
    schema = fields.object("outputSchema")
    if schema is None:
        return None
    path = fields.path("outputSchema")
    schema, place = _unwrapped(schema)
    if place:
        fields.notes.warn(f"{path} is a wrapper around a schema: {path}.{place} was used")
    problem = _lookalike(schema) or context.check_schema(schema)
    if problem:
        fields.problem("outputSchema", problem)
        return schema
    rewritten, changed = _with_null(schema)
    if changed:
        fields.notes.warn(f"{path}: nullable is OpenAPI's word; it was read as “or null”")
        if (problem := context.check_schema(rewritten)) is not None:  # a $ref may lead into what was moved
            fields.problem("outputSchema", problem)

    return dict(rewritten)


def _unwrapped(schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The schema inside wrappers such as `{"name", "strict", "schema"}`, and the path to it."""
    steps: list[str] = []
    while True:
        for key, beside in _WRAPPERS.items():
            inner = schema.get(key)
            if isinstance(inner, dict) and schema.keys() <= beside and _is_wrapper(schema, inner):
                steps.append(key)
                schema = inner
                break
        else:
            return schema, ".".join(steps)


def _is_wrapper(schema: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Whether the other fields are those of a wrapper, not of an object with a property of that name."""
    if not all(isinstance(schema.get(name, ""), str) for name in ("type", "name", "description")):
        return False

    return schema.get("type") not in TYPES and bool(inner.keys() & (_ASSERTIONS | _WRAPPERS.keys()))


def _lookalike(schema: Mapping[str, Any]) -> str | None:
    """A description of a value that is no schema; None if it may be one."""
    if "openapi" in schema or "swagger" in schema or ("components" in schema and schema.keys() <= {*_OPENAPI, "tags"}):
        return "looks like an OpenAPI document: send one schema of it, such as components.schemas.Invoice"
    others = {name: value for name, value in schema.items() if name not in KEYWORDS and not name.startswith("x-")}
    fields = {name: value for name, value in schema.items() if _is_field(value)}
    if _is_field(schema.get("type")) or (fields and not schema.keys() & _ASSERTIONS):
        return f"looks like the properties of a schema alone: {_CLOSE}"
    if schema.get("type") == "object" and not schema.keys() & _SHAPES and (fields.keys() & others.keys()):
        name = safe_quote(next(name for name in others if name in fields))
        return f"has the field “{name}” outside properties: {_CLOSE}"
    if not schema.keys() & _ASSERTIONS or (others and not _has_valid_type(schema)):
        return f"looks like an example of the answer, not like a JSON Schema: {_CLOSE}"
    for name, child in (schema.get("properties") or {}).items() if isinstance(schema.get("properties"), dict) else ():
        if isinstance(child, str) or (isinstance(child, dict) and child and not child.keys() & KEYWORDS):
            return f'has an example in properties.{safe_quote(name)}: write it as {{"type": "string"}}'

    return None


def _has_valid_type(schema: Mapping[str, Any]) -> bool:
    """Whether a keyword holds what it should; an example may have a field called `type` or `items`."""
    kind = schema.get("type")
    if kind is not None:
        return kind in TYPES if isinstance(kind, str) else isinstance(kind, list)
    if "items" in schema and not isinstance(schema["items"], (dict, bool)):
        return False

    return bool(schema.keys() & {*_SHAPES, "items", "enum", "const", "if", "not", "$dynamicRef", "pattern", "required"})


def _is_field(value: object) -> bool:
    """Whether a value is certainly the schema of one field."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")

    return (isinstance(kind, str) and kind in TYPES) or isinstance(kind, list) or "$ref" in value


def _with_null(schema: Any) -> tuple[Any, bool]:
    """The schema with each `nullable: true` as a type, and whether there was one. Its depth has been checked."""
    if not isinstance(schema, Mapping):
        return schema, False
    result: dict[str, Any] = dict(schema)
    changed = False
    for steps, child in subschemas(schema):
        new, inner = _with_null(child)
        if inner:
            changed = True
            _put(result, schema, steps, new)
    if "nullable" in schema:
        nullable, changed = result.pop("nullable"), True
        if nullable:
            result = _or_null(result)

    return (result, True) if changed else (schema, False)


def _put(result: dict[str, Any], schema: Mapping[str, Any], steps: tuple[str | int, ...], child: Any) -> None:
    if len(steps) == 1:
        result[str(steps[0])] = child
        return
    key, inner = str(steps[0]), steps[1]
    if result[key] is schema[key]:
        result[key] = list(schema[key]) if isinstance(schema[key], list) else dict(schema[key])
    result[key][inner] = child


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if kind is None or schema.keys() & {"const", "$ref", "allOf", "anyOf", "oneOf", "not"}:
        moved: dict[str, Any] = {key: schema.pop(key) for key in _OUTSIDE if key in schema}
        return {**moved, "anyOf": [schema, {"type": "null"}]} if schema else moved
    kinds = [kind] if isinstance(kind, str) else kind
    result = {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
    if "enum" in schema and None not in schema["enum"]:
        result["enum"] = [*schema["enum"], None]

    return result
