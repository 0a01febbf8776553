"""JSON Schemas: fitted to what Claude's structured output takes, and the answer checked against the caller's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import InvalidRequest, Problem
from . import safe_schema

_FENCE = re.compile(r"\A\s*```[ \t]*(?:json)?[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL | re.IGNORECASE)
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
_LOCAL = re.compile(r"#/(?:\$defs|definitions)/([^/]+)\Z")
_KEPT = ("type", "title", "enum", "const", "default", "$ref", "required")
_SILENT = frozenset(("$schema", "$id", "$comment", "description", "additionalProperties", "readOnly", "writeOnly"))
_SHAPES = ("properties", "items", "$ref", "anyOf", "oneOf", "allOf")
_TOO_MUCH = ("patternProperties", "prefixItems", "propertyNames", "additionalItems", "$dynamicRef", "$recursiveRef")


_UNUSABLE = "is not a JSON Schema that can be used: "


class SchemaUnsupported(Exception):
    """The schema means more than structured output can say: a free-form object, a recursion, a tuple."""


class SchemaMismatch(Exception):
    """The answer is not what the schema asks for. Says where and which rule, never what the answer was."""


def adapt_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    The same schema as Claude's structured output takes it, or None where it cannot say it.

    Objects are closed. Rules it does not know (lengths, ranges, patterns) become part of the description; the answer is
    checked against the caller's own schema in any case. What is optional stays so: a field made required would make
    Claude invent a value.
    """
    try:
        _no_recursion(schema)
        return _fit(schema)
    except SchemaUnsupported:
        return None


def parsed(text: str, schema: Mapping[str, Any], *, seconds: float = safe_schema.LONGEST) -> Any:
    """
    The answer's JSON, which satisfies the schema; `Mismatch` otherwise.

    Raises `InvalidRequest` where the schema itself is the matter, and where the check takes longer than `seconds`.
    """
    from jsonschema import exceptions

    fence = _FENCE.match(text)
    try:
        value = json.loads(fence.group(1) if fence else text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        where = f" (line {exc.lineno}, column {exc.colno})" if isinstance(exc, json.JSONDecodeError) else ""
        raise SchemaMismatch(f"the answer is not JSON{where}") from None
    try:
        with safe_schema.time_limit(seconds):
            error = exceptions.best_match(safe_schema.validator(schema).iter_errors(value))
    except safe_schema.ValidationTimeout as exc:
        raise InvalidRequest(problems=[_fault("checking the answer takes too long")]) from exc
    except Exception as exc:
        # An unknown `$ref`, an endless recursion: the caller's schema shows its faults only as it is used.
        raise InvalidRequest(problems=[_fault(type(exc).__name__)]) from exc
    if error is not None:
        rule = json.dumps({error.validator: error.validator_value}, ensure_ascii=False, default=str)
        raise SchemaMismatch(
            f"the answer does not fit outputSchema at {error.json_path}: {_short(rule)} is not satisfied"
        )

    return value


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """What keeps a schema from being used, said before it costs a call; None where nothing does."""
    from jsonschema import Draft202012Validator, FormatChecker, exceptions, validators

    kind: Any = validators.validator_for(schema, default=Draft202012Validator)
    try:
        # Without formats: one of them holds patterns against `re`, which knows less than what they are matched by.
        kind.check_schema(dict(schema), format_checker=FormatChecker(formats=()))
    except exceptions.SchemaError as exc:
        return _UNUSABLE + f"at {exc.json_path}: {_short(exc.message)}"
    if (said := safe_schema.pattern_problem(schema)) is not None:
        return _UNUSABLE + said
    if _has(schema, "patternProperties") and _has(schema, "unevaluatedProperties"):
        return _UNUSABLE + "patternProperties and unevaluatedProperties do not go together here"

    return None


def validate(schema: Mapping[str, Any]) -> None:
    """Refuse what is no JSON Schema, before it costs a call."""
    if (said := schema_problem(schema)) is not None:
        raise InvalidRequest(problems=[Problem(field="options.outputSchema", problem=said)])


def _has(node: Any, keyword: str) -> bool:
    if isinstance(node, Mapping):
        return keyword in node or any(_has(value, keyword) for value in node.values())

    return isinstance(node, list) and any(_has(value, keyword) for value in node)


def _fit(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or any(key in schema for key in _TOO_MUCH):
        raise SchemaUnsupported
    if not any(key in schema for key in ("type", "enum", "const", *_SHAPES)):
        raise SchemaUnsupported
    if any(isinstance(value, (Mapping, list)) for value in (*schema.get("enum", ()), schema.get("const"))):
        raise SchemaUnsupported
    if any(key in schema for key in ("anyOf", "oneOf", "allOf")) and ("properties" in schema or "items" in schema):
        raise SchemaUnsupported

    fit: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    notes: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("$defs", "definitions"):
            fit[key] = {name: _fit(one) for name, one in value.items()}
        elif key in ("anyOf", "oneOf"):
            fit["anyOf"] = [_fit(one) for one in value]
        elif key == "allOf":
            # Closed objects exclude each other's fields, so that only one can be meant.
            if len(value) != 1:
                raise SchemaUnsupported
            fit["allOf"] = [_fit(value[0])]
        elif key == "properties":
            fit["properties"] = {name: _fit(one) for name, one in value.items()}
        elif key == "items":
            fit["items"] = _fit(value)
        elif (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            fit[key] = value
        elif key not in fit and key not in _SILENT:
            notes[key] = value

    types = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type", ()))
    if "object" in types or "properties" in schema:
        _close(fit, schema)
    if "array" in types and "items" not in schema:
        raise SchemaUnsupported
    if description := _described(schema.get("description"), notes):
        fit["description"] = description

    return fit


def _close(fit: dict[str, Any], schema: Mapping[str, Any]) -> None:
    if not fit.get("properties") or isinstance(schema.get("additionalProperties"), Mapping):
        raise SchemaUnsupported
    if not set(schema.get("required", ())) <= set(fit["properties"]):
        raise SchemaUnsupported
    fit.setdefault("type", "object")
    fit.setdefault("required", [])
    fit["additionalProperties"] = False


def _described(description: Any, notes: Mapping[str, Any]) -> str:
    rules = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False, default=str)}" for key, value in notes.items())

    return "\n\n".join(part for part in (description, f"{{{rules}}}" if rules else "") if part)


def _no_recursion(schema: Mapping[str, Any]) -> None:
    """A definition that comes back to itself, or a reference to somewhere else, is more than can be held to."""
    defs = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
    done: set[str] = set()

    def walk(node: Any, above: tuple[str, ...]) -> None:
        if isinstance(node, Mapping):
            ref = node.get("$ref")
            if isinstance(ref, str):
                found = _LOCAL.match(ref)
                if found is None or found.group(1) not in defs or found.group(1) in above:
                    raise SchemaUnsupported
                if found.group(1) not in done:
                    walk(defs[found.group(1)], (*above, found.group(1)))
                    done.add(found.group(1))
            for value in node.values():
                walk(value, above)
        elif isinstance(node, list):
            for value in node:
                walk(value, above)

    walk({key: value for key, value in schema.items() if key not in ("$defs", "definitions")}, ())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _fault(text: str) -> Problem:
    return Problem(field="options.outputSchema", problem=_UNUSABLE + text)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
