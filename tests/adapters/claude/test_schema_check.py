"""Schemas at submission: what cannot be used is refused before it costs a call, within limits of time and size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator, FormatChecker, exceptions

from claude_relay.claude import schema, schema_check
from claude_relay.claude.schema_gate import SchemaGate
from claude_relay.core.schemas import keywords
from claude_relay.errors import Busy
from tests.support.eventually import eventually

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"


def wide(fields: int) -> dict[str, Any]:
    """A schema with that many properties."""
    properties = {f"field{n}": {"type": "string", "description": "x" * 20} for n in range(fields)}
    return {"type": "object", "properties": properties}


def chain(length: int, link: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """A schema whose definitions refer to each other in a row."""
    defs: dict[str, Any] = {f"d{n}": link({"$ref": f"#/$defs/d{n + 1}"}) for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{length}": {"type": "string"}}}


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (wide(20_000), "too large: "),
        ({"enum": list(range(20_000))}, "20,002 values, the maximum is 10,000"),
        ({"description": "x" * 300_000, "type": "object"}, "the maximum is 262,144"),
        ({"anyOf": [{"pattern": f"{n}" + "a" * 2000} for n in range(6)]}, "patterns are too long"),
    ],
)
def test_a_schema_over_the_limits_is_refused_in_words(asked: dict[str, Any], problem: str) -> None:
    """CASES S4"""
    assert problem in (schema.schema_problem(asked) or "")


def test_names_are_looked_up_in_a_moment() -> None:
    """CASES S4: 900 of `$id` took 12 s, since the library looks through the whole schema for each."""
    many = {"anyOf": [{"$anchor": f"a{n}", "items": {"$ref": f"#a{n}"}} for n in range(2_000)]}
    one = {"anyOf": [{"$ref": "#a"}] * 3_000, "$defs": {"a": {"$anchor": "a"}}}
    began = time.thread_time()
    assert "2,000 of $id and $anchor" in (schema.schema_problem(many) or "")
    assert (
        schema.schema_problem({"properties": {f"p{n}": {"items": {"$ref": "#a"}} for n in range(500)}, **one}) is None
    )
    assert time.thread_time() - began < 5


def test_the_largest_schemas_are_checked_in_a_moment() -> None:
    """CASES S4: one of 0.8 MiB took 14 s."""
    largest = [wide(3_300), {"anyOf": [{"$ref": "#/$defs/a"}] * 3_300, "$defs": {"a": {}}}, {"enum": ["x"] * 9_900}]
    for asked in largest:
        began = time.thread_time()
        assert schema.schema_problem(asked) is None
        assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"$schema": 7}, "at $.$schema: must be the URL"),
        ({"$schema": ["x"]}, "at $.$schema: must be the URL"),
        ({"$schema": "http://["}, "at $.$schema: must be the URL"),
        ({"$schema": "draft-07"}, "at $.$schema: must be the URL"),
        ({"properties": {"a": {"$schema": 7}}}, "at $.properties.a.$schema: must be a string"),
        (chain(3_000, lambda ref: ref), "too deep: the maximum is 200"),
        (chain(150, lambda ref: {"allOf": [ref]}), "too deep: the maximum is 200"),
        (chain(150, lambda ref: {"properties": {"a": ref}}), "too deep: the maximum is 200"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{}, {"$ref": "#/$defs/a"}]}}}, "back to itself"),
        ({"properties": {"default": {"pattern": "("}}}, "is not a regular expression"),
        ({"$ref": "#/hidden/a", "hidden": {"a": {"type": "strin"}}}, "at $.type: must be one of"),
        ({"minLength": float("inf")}, "cannot be read (OverflowError)"),
    ],
)  # fmt: skip
def test_work_on_a_schema_ends_in_words_and_never_in_an_exception(asked: dict[str, Any], problem: str) -> None:
    """CASES S14: 500 on `$schema`, and `internal` after a paid call for a chain of references."""
    assert problem in (schema.schema_problem(asked) or "")


@pytest.mark.parametrize("link", [lambda ref: ref, lambda ref: {"allOf": [ref]}, lambda ref: {"items": ref}])
def test_a_chain_that_is_accepted_can_be_adapted_and_validated(
    link: Callable[[dict[str, str]], dict[str, Any]],
) -> None:
    """CASES S14: the limit of levels is below Python's limit of recursion."""
    longest = max(n for n in range(200) if schema.schema_problem(chain(n, link)) is None)
    assert longest >= 60
    asked = chain(longest, link)
    schema.adapt_schema(asked)
    answer = '"x"' if "items" not in asked["$defs"]["d0"] else "[" * longest + '"x"' + "]" * longest
    assert schema.parse_answer(answer, asked) is not None
    assert schema.adapt_schema(chain(3_000, link)) is None


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"$ref": "#/$defs/Adress", "$defs": {"Address": {}}},
         "“#/$defs/Adress” leads nowhere in this schema; there are #/$defs/Address"),
        ({"properties": {"a": {"items": {"$ref": "#/definitions/b"}}}},
         "at $.properties.a.items: $ref “#/definitions/b” leads nowhere"),
        ({"$ref": "https://example.com/invoice.json"}, "“https://example.com/invoice.json” names another document"),
        ({"$ref": "other.json#/a"}, "“other.json#/a” names another document"),
        ({"$ref": "#anchor"}, "“#anchor” leads nowhere"),
        ({"$ref": "#/enum/0", "enum": ["x"]}, "“#/enum/0” leads nowhere"),
        ({"$defs": {"unused": {"$ref": "#/$defs/none"}}, "type": "object"}, "“#/$defs/none” leads nowhere"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_named(asked: dict[str, Any], problem: str) -> None:
    """CASES F5: it was accepted, paid for, and failed as `_WrappedReferencingError`."""
    assert problem in (schema.schema_problem(asked) or "")


@pytest.mark.parametrize(
    "asked",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"next": {"$ref": "#/$defs/a"}}}}},
        {"$ref": "#node", "$defs": {"a": {"$anchor": "node", "type": "string"}}},
        {"$id": "https://example.com/s", "$ref": "https://example.com/s#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"$id": "https://example.com/s", "$ref": "t", "$defs": {"a": {"$id": "t", "type": "string"}}},
        {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "string"}}},
        {"$schema": DRAFT_7, "items": [{"$ref": "#/definitions/a"}], "definitions": {"a": {}}},
        {"$schema": DRAFT_4, "minimum": 1, "exclusiveMinimum": True},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"properties": {"$ref": {"type": "string"}, "type": {"type": "string"}}},
        {"enum": [{"$ref": "#/nowhere"}], "default": {"$ref": 7}},
    ],
)
def test_references_that_lead_somewhere_are_accepted(asked: dict[str, Any]) -> None:
    """CASES F5"""
    assert schema.schema_problem(asked) is None


SAMPLES: list[Any] = [
    None, True, 0, -1, 1.0, 1.5, "", "a", "string", [], ["a"], ["a", "a"], ["string", "null"], [1], [{}], [True],
    {}, {"a": {}}, {"a": True}, {"a": "x"}, {"a": ["b"]}, {"a": ["b", "b"]}, {"a": 1}, {"type": "x"},
]  # fmt: skip
#: Names and anchors whose form the library checks and which nothing here reads.
LENIENT = ("$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$id", "id", "$schema")


@pytest.mark.parametrize("kind", [Draft202012Validator, Draft201909Validator, Draft7Validator])
def test_no_schema_passes_that_the_metaschema_refuses(kind: Any) -> None:
    """CASES S4: the own check replaces the metaschema's, which took eight times as long."""
    url = kind.META_SCHEMA["$schema"]
    for name in sorted(keywords.KEYWORDS.difference(LENIENT)):
        for value in SAMPLES:
            asked = {"$schema": url, name: value}
            try:
                kind.check_schema(asked, format_checker=FormatChecker(formats=()))
            except exceptions.SchemaError:
                assert schema.schema_problem(asked) is not None, asked


def test_large_schemas_are_checked_one_at_a_time_and_never_fill_the_threads() -> None:
    """CASES S4: small and known ones pass meanwhile; beyond a few that wait, a large one is told to come again."""
    go, checked = threading.Event(), list[int]()

    def check(asked: Any) -> str | None:
        if len(asked["properties"]) > 10:
            checked.append(len(asked["properties"]))
            go.wait(60)
        return None

    gate, refused = SchemaGate(check), list[Exception]()

    def submit(size: int) -> None:
        try:
            gate.problem(wide(size))
        except Busy as exc:
            refused.append(exc)

    threads = [threading.Thread(target=submit, args=(100 + n,)) for n in range(40)]
    try:
        for thread in threads:
            thread.start()
        eventually(lambda: len(refused) == 33)
        assert gate.problem(wide(3)) is None
        assert len(checked) == 1
    finally:
        go.set()
        for thread in threads:
            thread.join()
    assert len(checked) == 7
    gate.problem(wide(checked[0]))
    assert len(checked) == 7  # from the cache


def test_the_items_of_one_request_share_a_limit_of_time() -> None:
    """CASES S4, S1"""
    spent = iter(range(1000))
    check = SchemaGate(lambda _: None, clock=lambda: float(next(spent))).for_one_request()
    results = [check({"type": "object", "title": str(n)}) for n in range(6)]

    assert [result is None for result in results] == [True, True, True, False, False, False]
    assert "send fewer different ones" in (results[-1] or "")


def test_a_check_at_the_limit_of_levels_is_linear() -> None:
    """CASES S4: 80 definitions that refer to each other twice have 2**80 paths."""
    defs = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(80)}
    asked = {"$ref": "#/$defs/d0", "$defs": {**defs, "d80": {}}}
    assert schema.schema_problem(asked) is None
    assert schema_check.count_values(asked) < 1000
