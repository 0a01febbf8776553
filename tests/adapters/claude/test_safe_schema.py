"""Time limit of schema validation: endless patterns and references do not stop the process."""

from __future__ import annotations

import resource
import threading
import time

import pytest

from claude_relay.claude import safe_schema, schema
from claude_relay.claude.bounded_process import BoundedProcesses
from claude_relay.errors import InvalidRequest

EVIL = r"^(a|aa)+$"


def doubling(times: int) -> dict[str, object]:
    """A schema whose check takes two to the power of `times` steps, without any pattern."""
    defs: dict[str, object] = {"a0": {"type": "string"}}
    for n in range(1, times + 1):
        twice = {"$ref": f"#/$defs/a{n - 1}"}
        defs[f"a{n}"] = {"allOf": [twice, twice]}

    return {"$defs": defs, "$ref": f"#/$defs/a{times}"}


@pytest.mark.parametrize(
    "evil",
    [
        {"type": "string", "pattern": EVIL},
        {"anyOf": [{"type": "integer"}, {"pattern": EVIL}]},
        {"allOf": [{"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": EVIL}]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [{"$ref": "#/definitions/x"}],
         "definitions": {"x": {"pattern": EVIL}}},
        doubling(40),
    ],
    ids=["plain", "nested", "another draft below", "an older draft", "references"],
)  # fmt: skip
def test_endless_validation_times_out(evil: dict[str, object]) -> None:
    """Other threads continue meanwhile."""
    ticks, over = [time.monotonic()], threading.Event()

    def tick() -> None:
        while not over.wait(0.01):
            ticks.append(time.monotonic())

    ticking = threading.Thread(target=tick)
    ticking.start()
    began = time.monotonic()
    try:
        with pytest.raises(InvalidRequest, match="takes too long"):
            schema.parse_answer('"' + "a" * 200 + '!"', evil, seconds=1.0)
    finally:
        over.set()
        ticking.join()

    assert time.monotonic() - began < 60
    assert len(ticks) > 5  # in a second; with the interpreter's lock held throughout, two or three


@pytest.mark.parametrize("at", ["patternProperties", "additionalProperties"])
def test_property_names_are_matched_with_the_time_limit(at: str) -> None:
    evil = {"type": "object", "patternProperties": {EVIL: {}}, "additionalProperties": at == "patternProperties"}
    with pytest.raises(InvalidRequest, match="takes too long"):
        schema.parse_answer('{"' + "a" * 200 + '!": 1}', evil, seconds=0.3)


@pytest.mark.parametrize(
    ("asked", "text", "fits"),
    [
        ({"pattern": "^[A-Z]{2}$"}, '"NO"', True),
        ({"pattern": "^[A-Z]{2}$"}, '"no"', False),
        ({"pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}, '"12.5"', True),
        ({"pattern": r"^\p{Lu}+$"}, '"ÆØÅ"', True),
        ({"patternProperties": {"^n": {"type": "integer"}}}, '{"n1": 1, "x": "y"}', True),
        ({"patternProperties": {"^n": {"type": "integer"}}}, '{"n1": "one"}', False),
        ({"patternProperties": {"^n": {}}, "additionalProperties": False}, '{"n1": 1}', True),
        ({"patternProperties": {"^n": {}}, "additionalProperties": False}, '{"x": 1}', False),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, '{"a": "x", "b": 2}', True),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, '{"a": "x", "b": "y"}', False),
        ({"properties": {"$schema": {"type": "integer"}}}, '{"$schema": "x"}', False),
        ({"enum": [{"$schema": "x"}]}, '{"$schema": "x"}', True),
    ],
)
def test_validation_results_are_correct(asked: dict[str, object], text: str, fits: bool) -> None:
    if fits:
        schema.parse_answer(text, asked)
    else:
        with pytest.raises(schema.SchemaMismatch):
            schema.parse_answer(text, asked)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"type": "strin"}, "at "),
        ({"properties": {"a": {"pattern": "("}}}, "is not a regular expression"),
        ({"patternProperties": {"[": {}}}, "is not a regular expression"),
        ({"pattern": "a" * 10_001}, "too long"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "cannot be combined"),
    ],
)
def test_an_unusable_schema_is_reported_on_submission(asked: dict[str, object], problem: str) -> None:
    assert problem in (schema.schema_problem(asked) or "")


def test_patterns_may_use_unicode_classes() -> None:
    assert schema.schema_problem({"type": "string", "pattern": r"^\p{Lu}\p{Ll}+$"}) is None


def test_a_property_named_pattern_is_not_a_pattern() -> None:
    assert schema.schema_problem({"type": "object", "properties": {"pattern": {"type": "string"}}}) is None


RECURSIVE = r"(?R)?a"
DEEP = "(?:(?:a{1000}){1000}){1000}"


def memory_of_this_process() -> int:
    """Its largest memory so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_a_pattern_that_takes_a_gigabyte_to_match_is_the_fault_of_its_schema() -> None:
    """CASES S13: `(?R)?a` took 1.1 GB in the worker; a bounded process ends with it, and the worker's memory stays."""
    before = memory_of_this_process()
    with pytest.raises(InvalidRequest, match=r"takes too (much memory|long)"):
        schema.parse_answer('"' + "a" * 200_000 + '"', {"type": "string", "pattern": RECURSIVE})

    assert memory_of_this_process() - before < 150
    schema.parse_answer('"aa"', {"type": "string", "pattern": "^a+$"})


@pytest.mark.parametrize("name", ["pattern", "patternProperties"])
def test_a_pattern_that_takes_gigabytes_to_compile_is_refused_at_submission(name: str) -> None:
    """CASES S13: also without an answer, in the API."""
    before = memory_of_this_process()
    problem = schema.schema_problem({"properties": {"a": {name: DEEP if name == "pattern" else {DEEP: {}}}}})

    assert "its patterns take too much" in (problem or "")
    assert memory_of_this_process() - before < 150


@pytest.mark.parametrize(
    ("pattern", "heavy"),
    [
        (r"^[A-Z]{2}\d{9}$", False),
        (r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", False),
        (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$", False),
        (r"^([A-Z]{2} ?){1,50}$", False),
        (DEEP, True),
        ("(a?){1000}" * 900, True),
        ("(?x)(a{1000}) {1000}", True),
        ("(?:a{,1000}){,1000}", True),
        ("a{1000}{1000}", True),
        ("a{99999999999}", True),
    ],
)
def test_only_patterns_of_many_repetitions_are_compiled_elsewhere(pattern: str, heavy: bool) -> None:
    """The usual ones cost no process at submission."""
    assert safe_schema.has_heavy_pattern({"items": [{"pattern": pattern}]}) is heavy
    assert safe_schema.has_heavy_pattern({"patternProperties": {pattern: {}}}) is heavy


def test_a_machine_that_starts_no_process_still_checks_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process and with the time limit: the answer is paid for."""
    broken = BoundedProcesses(command=["/no/such/program"])
    monkeypatch.setattr(schema, "PROCESSES", broken)
    monkeypatch.setattr(safe_schema, "PROCESSES", broken)

    schema.parse_answer('"NO"', {"pattern": "^[A-Z]{2}$"})
    with pytest.raises(schema.SchemaMismatch):
        schema.parse_answer('"no"', {"pattern": "^[A-Z]{2}$"})
    assert schema.schema_problem({"pattern": DEEP}) is None  # the worker will see
