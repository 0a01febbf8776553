"""`options.checks` of a request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.intake import accepted, refused

SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}, "kid": {"type": "string"}}}


def body(checks: Any, **fields: Any) -> dict[str, Any]:
    return {"options": {"outputSchema": SCHEMA, "checks": checks}, **fields}


def test_rules_are_stored_with_name_and_tolerance() -> None:
    """A string is a rule of its own name; a tolerance is exact."""
    given = ["total > 0", {"name": "kid", "rule": "mod10(kid)"}, {"rule": "total == 3", "tolerance": 0.1}]

    assert accepted(body(given)).request["options"]["checks"] == [
        {"name": "total > 0", "rule": "total > 0", "tolerance": "0"},
        {"name": "kid", "rule": "mod10(kid)", "tolerance": "0"},
        {"name": "total == 3", "rule": "total == 3", "tolerance": "0.1"},
    ]
    assert "checks" not in accepted(body([])).request["options"]


def test_on_check_failed_stands_beside_options() -> None:
    """The default is to deliver the answer."""
    assert accepted(body(["total > 0"], onCheckFailed="fail")).request["onCheckFailed"] == "fail"
    assert "onCheckFailed" not in accepted(body(["total > 0"], onCheckFailed="deliver")).request
    assert "deliver, fail" in refused(body(["total > 0"], onCheckFailed="ignore"))["onCheckFailed"]


@pytest.mark.parametrize(
    ("checks", "field", "words"),
    [
        ("total > 0", "options.checks", "a list"),
        (["total >"], "options.checks[0]", "position 8"),
        (["total > 0", "totl > 0"], "options.checks[1]", "did you mean total? (position 1)"),
        ([5], "options.checks[0]", "a number"),
        ([{"name": "x"}], "options.checks[0]", "needs a rule"),
        ([{"rule": "total > 0", "tol": 1}], "options.checks[0]", "tol"),
        ([{"rule": "total > 0", "name": "x" * 101}], "options.checks[0]", "100 characters"),
        ([{"rule": "total > 0", "tolerance": -1}], "options.checks[0]", "from 0 to"),
        ([{"rule": "total > 0", "tolerance": "a"}], "options.checks[0]", "from 0 to"),
        ([{"rule": "total > 0", "tolerance": True}], "options.checks[0]", "true"),
        (["total > 0"] * 51, "options.checks", "the maximum is 50"),
        (["total / 0 == 1"], "options.checks[0]", "divides by zero"),
        (["(" * 100 + "total" + ")" * 100 + " == 1"], "options.checks[0]", "levels of brackets"),
        (["total == 1e999"], "options.checks[0]", "out of range"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_with_its_place(checks: Any, field: str, words: str) -> None:
    """The problem names the rule by its number, and the position in it."""
    assert words in refused(body(checks))[field]


def test_checks_need_a_schema() -> None:
    """Without one there is no parsed answer."""
    assert "needs outputSchema" in refused({"options": {"checks": ["a > 0"]}})["options.checks"]


def test_beside_a_schema_that_is_refused_the_rules_are_no_second_problem() -> None:
    """They are read against it all the same, as it is the schema that must be mended."""
    wrong = {"options": {"outputSchema": {"total": 3}, "checks": ["total > 0"]}}

    assert list(refused(wrong)) == ["options.outputSchema"]
