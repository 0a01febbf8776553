"""`options.outputSchema`: wrappers, values that only look like a schema, and OpenAPI's `nullable`."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.claude.schema import adapt_schema, parse_answer, schema_problem
from tests.support.intake import accepted, an_intake_context, refused

INVOICE = {"type": "object", "properties": {"invoiceNumber": {"type": "string"}}, "required": ["invoiceNumber"]}
OPENAPI = {"openapi": "3.1.0", "info": {"title": "x"}, "paths": {}, "components": {"schemas": {"Invoice": INVOICE}}}


def take(schema: Any) -> Any:
    return accepted({"options": {"outputSchema": schema}}, context=an_intake_context(check_schema=schema_problem))


def problem(schema: Any) -> str:
    context = an_intake_context(check_schema=schema_problem)
    return refused({"options": {"outputSchema": schema}}, context=context)["options.outputSchema"]


@pytest.mark.parametrize(
    ("wrapped", "place"),
    [
        ({"name": "invoice", "strict": True, "schema": INVOICE}, "schema"),
        ({"schema": INVOICE}, "schema"),
        ({"type": "json_schema", "json_schema": {"name": "i", "schema": INVOICE}}, "json_schema.schema"),
        ({"type": "json_schema", "schema": INVOICE}, "schema"),
        ({"format": {"type": "json_schema", "schema": INVOICE}}, "format.schema"),
        ({"name": "invoice", "description": "x", "input_schema": INVOICE}, "input_schema"),
        ({"type": "function", "function": {"name": "i", "parameters": INVOICE}}, "function.parameters"),
    ],
)
def test_a_schema_is_taken_out_of_a_wrapper_with_a_warning(wrapped: Any, place: str) -> None:
    """CASES F6: nothing was checked, and the callback said that it was."""
    submission = take(wrapped)

    assert submission.request["options"]["outputSchema"] == INVOICE
    assert any(f"options.outputSchema.{place} was used" in warning for warning in submission.warnings)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"invoiceNumber": "string"}, "looks like an example"),
        ({"invoiceNumber": "2024-17", "total": 12.5, "lines": [{"amount": 1}]}, "looks like an example"),
        ({"customer": {"name": "Kari"}}, "looks like an example"),
        ({"title": "Faktura", "description": "x"}, "looks like an example"),
        ({"type": "invoice", "number": "17"}, "looks like an example"),
        ({"items": ["a"], "number": "17"}, "looks like an example"),
        ({"invoiceNumber": {"type": "string"}, "total": {"type": "number"}}, "looks like the properties"),
        ({"type": {"type": "string"}, "total": {"type": "number"}}, "looks like the properties"),
        ({"title": {"type": "string"}, "description": {"type": "string"}}, "looks like the properties"),
        ({"type": "object", "invoiceNumber": {"type": "string"}}, "“invoiceNumber” outside properties"),
        ({"type": "object", "properties": {"invoiceNumber": "string"}}, "example in properties.invoiceNumber"),
        ({"type": "object", "properties": {"customer": {"name": "Kari"}}}, "example in properties.customer"),
        (OPENAPI, "looks like an OpenAPI document"),
        ({"swagger": "2.0", "definitions": {"a": INVOICE}}, "looks like an OpenAPI document"),
        ({"components": {"schemas": {"Invoice": INVOICE}}}, "looks like an OpenAPI document"),
        ({"name": "invoice", "schema": {"invoiceNumber": "string"}}, "looks like an example"),
    ],
)
def test_a_value_that_is_no_schema_is_told_what_it_looks_like(value: Any, words: str) -> None:
    """CASES F6"""
    assert words in problem(value)


@pytest.mark.parametrize(
    "schema",
    [
        INVOICE,
        {"type": "object"},
        {"type": "object", "properties": {"schema": {"type": "object"}, "name": {"type": "string"}}},
        {"type": "object", "properties": {"type": {"type": "string"}, "items": {}, "any": True}},
        {"enum": ["a", "b"]},
        {"const": 1},
        {"anyOf": [{"type": "string"}, {"type": "null"}], "x-note": "y", "propertyOrdering": ["a"]},
        {"$ref": "#/components/schemas/A", "components": {"schemas": {"A": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"x-only": 1, "title": "A"}}, "propertyOrdering": ["a"]},
        {"minLength": 3},
    ],
)
def test_a_schema_is_stored_as_it_is(schema: Any) -> None:
    """CASES F6"""
    submission = take(schema)
    assert (submission.request["options"]["outputSchema"], submission.warnings) == (schema, ())


@pytest.mark.parametrize(
    ("schema", "read"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"type": "string", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"$ref": "#/$defs/a", "nullable": True}, {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}),
        ({"items": {"type": "integer", "nullable": True}}, {"items": {"type": ["integer", "null"]}}),
        ({"anyOf": [{"type": "integer", "nullable": True}]}, {"anyOf": [{"type": ["integer", "null"]}]}),
        ({"type": "object", "properties": {"nullable": {"type": "string"}}}, None),
        ({"enum": [{"nullable": True}]}, None),
    ],
)  # fmt: skip
def test_nullable_of_openapi_means_or_null(schema: Any, read: Any) -> None:
    """CASES F7: it was ignored, and a null in the answer refused."""
    outer = {"type": "object", "properties": {"a": schema}, "$defs": {"a": {"type": "string"}}}
    submission = take(outer)

    assert submission.request["options"]["outputSchema"]["properties"]["a"] == (read or schema)
    assert any("nullable is OpenAPI" in warning for warning in submission.warnings) is (read is not None)
    assert outer["properties"]["a"] is schema  # the caller's own value, which the hash covers, is untouched


@pytest.mark.parametrize(
    "rule",
    [
        {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["vat"]}},
        {"dependentSchemas": {"kind": {"properties": {"vat": {"type": "number"}}}}},
        {"dependencies": {"kind": {"properties": {"vat": {"type": "number"}}}}},
        {"dependentRequired": {"kind": ["vat"]}},
        {"unevaluatedProperties": {"type": "number"}},
        {"$ref": "#/$defs/more"},
        {"allOf": [{"properties": {"vat": {"type": "number"}}}]},
    ],
)
def test_rules_that_bring_properties_are_asked_for_in_words(rule: dict[str, Any]) -> None:
    """CASES F7: they were sent as a closed object without those properties, which no answer can satisfy."""
    more = {"type": "object", "properties": {"vat": {"type": "number"}}}
    schema = {"type": "object", "properties": {"kind": {"type": "string"}}, "$defs": {"more": more}, **rule}

    assert schema_problem(schema) is None
    assert adapt_schema(schema) is None
    assert parse_answer('{"kind": "a", "vat": 25}', schema) == {"kind": "a", "vat": 25}


def test_conditions_are_checked_here() -> None:
    """CASES F7"""
    from claude_relay.claude.schema import SchemaMismatch

    schema = {"type": "object", "properties": {"kind": {}}, "if": {"required": ["kind"]}, "then": {"required": ["vat"]}}
    with pytest.raises(SchemaMismatch):
        parse_answer('{"kind": "a"}', schema)


@pytest.mark.parametrize("number", ["19.99", "4.35", "0.07", "1234.56", "1e300", "-0.29", "100", "0", "0.10"])
@pytest.mark.parametrize(
    "draft", ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-04/schema#"]
)
def test_multiples_are_decimal(number: str, draft: str) -> None:
    """CASES F4: 19.99 failed `multipleOf: 0.01` after two paid calls."""
    assert parse_answer(number, {"$schema": draft, "multipleOf": 0.01}) == float(number)


@pytest.mark.parametrize(("number", "factor"), [("0.015", 0.01), ("7", 2), ("1e-300", 0.01), ("0.3", 0.2)])
def test_other_numbers_are_no_multiples(number: str, factor: float) -> None:
    """CASES F4"""
    from claude_relay.claude.schema import SchemaMismatch

    with pytest.raises(SchemaMismatch):
        parse_answer(number, {"multipleOf": factor})


DRAFT_4, DRAFT_6 = "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-06/schema#"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "exclusiveMinimum": True, "$schema": DRAFT_4}, None),
        ({"type": "integer", "exclusiveMinimum": True, "$schema": DRAFT_6}, "a number"),
        ({"type": "integer", "exclusiveMinimum": 1, "$schema": DRAFT_4}, None),
        ({"anyOf": []}, "a list of schemas"),
        ({"anyOf": {"a": {}}}, "a list of schemas"),
        ({"anyOf": [{}]}, None),
        ({"type": "object", "properties": []}, "an object with a schema for each name"),
        ({"type": "object", "dependencies": {"a": ["b"]}}, None),
        ({"type": "object", "dependencies": {"a": [1]}}, "an object with a schema or a list of names for each name"),
        ({"type": "object", "required": ["a", "a"]}, "a list of different names"),
        ({"type": "array", "minItems": -1}, "a whole number of 0 or more"),
        ({"type": "array", "minItems": 0}, None),
        ({"type": "array", "minItems": 1.5}, "a whole number of 0 or more"),
        ({"type": "number", "multipleOf": 0}, "a number greater than 0"),
    ],
)
def test_a_keyword_holds_what_its_draft_says(schema: Any, words: str | None) -> None:
    """The refusal says what belongs there."""
    if words is None:
        assert take(schema).request["options"]["outputSchema"] == schema
    else:
        assert words in problem(schema)
