"""JSON Schemas: adapted to Claude's structured output; answers are validated against the caller's schema."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from ..core.text.json_values import find_unencodable, strip_fence
from ..errors import InvalidRequest, Problem
from . import safe_schema, schema_check
from .bounded_process import PROCESSES, NoProcess, WorkFailed

log = logging.getLogger(__name__)

_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
_LOCAL = re.compile(r"#/(?:\$defs|definitions)/([^/]+)\Z")
_KEPT = ("type", "title", "enum", "const", "default", "$ref", "required")
_SILENT = frozenset(("$schema", "$id", "$comment", "description", "additionalProperties", "readOnly", "writeOnly"))
_SHAPES = ("properties", "items", "$ref", "anyOf", "oneOf", "allOf")
_CHOICES = ("anyOf", "oneOf", "allOf")
#: Two of these in one schema would become two closed objects, or one would replace the other.
_COMBINED = ("properties", "$ref", *_CHOICES)
_UNSUPPORTED = (
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "additionalItems",
    "$dynamicRef",
    "$recursiveRef",
    # These may bring properties of their own, and a closed object would exclude them.
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
    "contains",
)


_EXCLUSIVE = ("patternProperties", "unevaluatedProperties")
_UNUSABLE = "is not a JSON Schema that can be used: "


class SchemaUnsupported(Exception):
    """Structured output cannot express the schema: a free-form object, a recursion, a tuple."""


class UnusableSchema(Exception):
    """The answer cannot be checked, due to the schema."""


class SchemaMismatch(Exception):
    """The answer does not match the schema. The message names the place and the rule, never the answer."""


def adapt_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Adapt the schema to Claude's structured output, or return None if that is not possible.

    Objects are closed. Unsupported rules (lengths, ranges, patterns) are moved to the description; the answer is
    validated against the caller's schema in any case. Optional fields stay optional: a field made required would make
    Claude invent a value.
    """
    try:
        _refuse_recursion(schema)
        return _adapt(schema)
    except SchemaUnsupported:
        return None
    except Exception as exc:
        # The prompt then asks for the schema, and its faults are found where the answer is checked.
        log.warning("schema not adapted", extra={"reason": type(exc).__name__})
        return None


def parse_answer(text: str, schema: Mapping[str, Any], *, seconds: float = safe_schema.TIME_LIMIT) -> Any:
    """
    Parse the answer's JSON and validate it; raises `SchemaMismatch`.

    Raises `InvalidRequest` if the schema itself is at fault, or if validation takes longer than `seconds`.
    """
    value = parse_value(text)
    try:
        if not (safe_schema.has_patterns(schema) and _checked_in_process(text, schema, seconds)):
            check_value(value, schema, seconds=seconds)
    except UnusableSchema as exc:
        raise InvalidRequest(problems=[_unusable(str(exc))]) from exc

    return value


def parse_value(text: str) -> Any:
    """The JSON of an answer, which may stand in a code block; raises `SchemaMismatch`."""
    try:
        value = json.loads(strip_fence(text), parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        where = f" (line {exc.lineno}, column {exc.colno})" if isinstance(exc, json.JSONDecodeError) else ""
        raise SchemaMismatch(f"the answer is not JSON{where}") from None
    if (unencodable := find_unencodable(value)) is not None:
        raise SchemaMismatch(f"the answer is not JSON that can be sent on: a value {unencodable}")

    return value


def _checked_in_process(text: str, schema: Mapping[str, Any], seconds: float) -> bool:
    """Validate in a bounded process; raises like `check_value`. False if this machine can start none."""
    data = json.dumps({"text": text, "schema": schema}).encode()
    try:
        result = PROCESSES.run("validate", data, seconds=seconds)
    except NoProcess:
        return False
    except WorkFailed as exc:
        what = "long" if exc.reason == "time" else "much memory"
        raise UnusableSchema(f"validating the answer takes too {what}") from exc
    if "mismatch" in result:
        raise SchemaMismatch(result["mismatch"])
    if "unusable" in result:
        raise UnusableSchema(result["unusable"])

    return True


def check_value(value: Any, schema: Mapping[str, Any], *, seconds: float) -> None:
    """Validate a value in this process; raises `SchemaMismatch` or `UnusableSchema`."""
    from jsonschema import exceptions

    try:
        with safe_schema.time_limit(seconds):
            error = exceptions.best_match(safe_schema.validator(schema).iter_errors(value))
    except safe_schema.ValidationTimeout as exc:
        raise UnusableSchema("validating the answer takes too long") from exc
    except MemoryError:
        raise
    except Exception as exc:
        # An unknown `$ref`, an endless recursion: faults of the schema that show only when it is used.
        raise UnusableSchema(type(exc).__name__) from exc
    if error is not None:
        rule = json.dumps({error.validator: error.validator_value}, ensure_ascii=False, default=str)
        raise SchemaMismatch(
            f"the answer does not match outputSchema at {error.json_path}: {_short(rule)} is not satisfied"
        )


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why a schema cannot be used, before it costs a call; None if it can."""
    try:
        problem = _problem(schema)
    except Exception as exc:
        # One guard around all work on a caller's schema: nothing in it is a fault of the relay.
        problem = f"it cannot be read ({type(exc).__name__})"

    return None if problem is None else _UNUSABLE + problem


def _problem(schema: Mapping[str, Any]) -> str | None:
    if (problem := schema_check.size_problem(schema)) is not None:
        return problem
    problem, nodes = schema_check.structure(schema)
    if problem is None:
        problem = safe_schema.pattern_problem(nodes)
    if problem is None and all(any(key in node for node in nodes) for key in _EXCLUSIVE):
        problem = "patternProperties and unevaluatedProperties cannot be combined here"

    return problem


def validate(schema: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` for an unusable schema, before it costs a call."""
    if (problem := schema_problem(schema)) is not None:
        raise InvalidRequest.at("options.outputSchema", problem)


def _adapt(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or any(key in schema for key in _UNSUPPORTED):
        raise SchemaUnsupported
    if not any(key in schema for key in ("type", "enum", "const", *_SHAPES)):
        raise SchemaUnsupported
    if any(isinstance(value, (Mapping, list)) for value in (*schema.get("enum", ()), schema.get("const"))):
        raise SchemaUnsupported
    if sum(key in schema for key in _COMBINED) > 1 or ("items" in schema and any(key in schema for key in _CHOICES)):
        raise SchemaUnsupported

    adapted: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    notes: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("$defs", "definitions"):
            adapted[key] = {name: _adapt(subschema) for name, subschema in value.items()}
        elif key in ("anyOf", "oneOf"):
            adapted["anyOf"] = [_adapt(subschema) for subschema in value]
        elif key == "allOf":
            # Closed objects exclude each other's fields, so only a single subschema can be satisfied.
            if len(value) != 1:
                raise SchemaUnsupported
            adapted["allOf"] = [_adapt(value[0])]
        elif key == "properties":
            adapted["properties"] = {name: _adapt(subschema) for name, subschema in value.items()}
        elif key == "items":
            adapted["items"] = _adapt(value)
        elif (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            adapted[key] = value
        elif key not in adapted and key not in _SILENT:
            notes[key] = value

    types = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type", ()))
    if "object" in types or "properties" in schema:
        _close_object(adapted, schema)
    if "array" in types and "items" not in schema:
        raise SchemaUnsupported
    if description := _described(schema.get("description"), notes):
        adapted["description"] = description

    return adapted


def _close_object(adapted: dict[str, Any], schema: Mapping[str, Any]) -> None:
    if not adapted.get("properties") or isinstance(schema.get("additionalProperties"), Mapping):
        raise SchemaUnsupported
    named = {*schema.get("required", ()), *itertools.chain(*schema.get("dependentRequired", {}).values())}
    if not named <= set(adapted["properties"]) or isinstance(schema.get("unevaluatedProperties"), Mapping):
        raise SchemaUnsupported
    adapted.setdefault("type", "object")
    adapted.setdefault("required", [])
    adapted["additionalProperties"] = False


def _described(description: Any, notes: Mapping[str, Any]) -> str:
    rules = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False, default=str)}" for key, value in notes.items())

    return "\n\n".join(part for part in (description, f"{{{rules}}}" if rules else "") if part)


def _refuse_recursion(schema: Mapping[str, Any]) -> None:
    """Raise `SchemaUnsupported` for a recursive definition, or a reference outside the definitions."""
    defs = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
    done: set[str] = set()

    def walk(node: Any, parents: tuple[str, ...]) -> None:
        if isinstance(node, Mapping):
            ref = node.get("$ref")
            if isinstance(ref, str):
                match = _LOCAL.match(ref)
                if match is None or match.group(1) not in defs or match.group(1) in parents:
                    raise SchemaUnsupported
                if match.group(1) not in done:
                    walk(defs[match.group(1)], (*parents, match.group(1)))
                    done.add(match.group(1))
            for value in node.values():
                walk(value, parents)
        elif isinstance(node, list):
            for value in node:
                walk(value, parents)

    walk({key: value for key, value in schema.items() if key not in ("$defs", "definitions")}, ())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unusable(text: str) -> Problem:
    return Problem(field="options.outputSchema", problem=_UNUSABLE + text)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
