"""Operands of checks: strings and dates, tolerances, limits of rules, control digits, and paths of a schema."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from claude_relay.core.checks import expression, review, schema_paths
from claude_relay.core.checks.control_digits import mod10, mod11
from claude_relay.core.checks.evaluate import MAX_STEPS, evaluate
from claude_relay.core.checks.expression import RuleError

ANSWER = {
    "kid": "007",
    "n": 7,
    "day": "2026-02-14",
    "time": "2026-02-14T10:00:00Z",
    "word": "abc",
    "flag": True,
    "box": {},
    "zero": 0,
    "list": [{"c": "A", "n": 1}, {"c": "B", "n": 2}],
    "other": [{"n": 1}],
    "gap": [{"c": "A"}, {"c": None}],
    "none": [],
    "kids": ["18", "26"],
    "third": 0.375,
}


def check(rule: str, tolerance: str = "0") -> dict[str, Any]:
    checks = [{"name": "x", "rule": rule, "tolerance": tolerance}]
    results = review.review({"checks": checks}, json.dumps(ANSWER), ANSWER)
    assert results is not None
    return results[0]


@pytest.mark.parametrize(
    ("rule", "ok"),
    [
        ('kid == "007"', True),
        ('"007" == kid', True),
        ('kid == "7"', False),
        ('"7" != kid', True),
        ("kid == 7", True),
        ('n == "7"', True),
        ('n != "7"', False),
        ('time == "2026-02-14"', False),
        ("time == day", True),
        ('word == "abc"', True),
        ("word == 5", False),
        ("word != 5", True),
        ('word < "b"', None),
        ('missing == "x"', None),
        ('flag == "True"', None),
        ("flag == 1", None),
        ("box == 1", None),
        ("day == n", None),
        ('list.c != "C"', True),
        ('list.c == "A"', False),
    ],
)
def test_beside_a_string_in_quotes_a_field_is_compared_as_it_is_written(rule: str, ok: bool | None) -> None:
    """“007” is no 7 there, and a time no day; without quotes both are."""
    assert check(rule)["ok"] is ok


@pytest.mark.parametrize(
    ("rule", "ok"),
    [
        ('day >= "2026-02-14"', True),
        ('day > "2026-02-14"', False),
        ('"2026-02-15" > day', True),
        ('time < "2026-02-15"', True),
        ('"2026-02-13" >= time', False),
    ],
)
def test_a_day_in_quotes_has_an_order(rule: str, ok: bool) -> None:
    """As a limit of the rule's own: an invoice is not older than this year."""
    assert check(rule)["ok"] is ok


@pytest.mark.parametrize(
    ("rule", "ok"),
    [
        ("list.n * 2 == list.n + list.n", True),
        ("list.n - 1 < list.n", True),
        ("list.n < 2", False),
        ("2 >= list.n", True),
        ("list.n == other.n", None),
        ("list.n + other.n == 1", None),
        ("none.n == 1", True),
        ("len(list) == 2", True),
        ("len(kid) == 3", True),
        ("len(n) == 1", None),
        ("min(list.n) == 1", True),
        ("abs(0 - n) == 7", True),
        ("abs(list.n) == list.n", True),
        ("round(2.5) == 3", True),
        ("round(-2.5) == -3", True),
        ("round(1.25, 1) == 1.3", True),
        ("round(list.n, 1) == list.n", True),
        ("round(n, 40) == 7", True),
        ("round(n, 41) == 7", None),
        ("round(n, 0.5) == 7", None),
        ("round(n, -1) == 7", None),
        ("--n == 7", True),
        ("---n == -7", True),
        ("n - 2 - 1 == 4", True),
        ("n * 2 / 7 == 2", True),
        ("word + 1 == 2", None),
        ("present(list.c)", True),
        ("present(gap.c)", False),
        ("present(none)", False),
        ("present(box)", False),
        ("present(zero)", True),
        ("mod10(kids)", True),
        ("mod10(none)", None),
        ("mod10(flag)", None),
        ("mod10(gap.c)", None),
    ],
)
def test_lists_are_compared_item_by_item_and_functions_take_their_own_kind(rule: str, ok: bool | None) -> None:
    """Half a unit is rounded away from zero, to 0 to 40 decimals; lists of two lengths say nothing."""
    assert check(rule)["ok"] is ok


@pytest.mark.parametrize(
    ("operator", "exact", "near"),
    [("<", (None, "0.001"), (0.374, "0.0011")), (">", (None, "0.001"), (0.376, "0.0011")),
     ("<=", (0.374, "0.001"), None), (">=", (0.376, "0.001"), None), ("==", (0.374, "0.001"), None)],
)  # fmt: skip
def test_a_tolerance_moves_the_limit_in_favour_of_the_rule(operator: str, exact: Any, near: Any) -> None:
    """By as much as it is, and not a bit more; without it the limit is the number itself."""
    for limit, tolerance in filter(None, (exact, near)):
        rule = f"third {operator} {0.375 if limit is None else limit}"
        assert check(rule)["ok"] is False
        assert check(rule, tolerance)["ok"] is True
        assert check(rule, "0.0009")["ok"] is (limit is None)
    assert check(f"third {operator} 0.375")["ok"] is ("=" in operator)


def test_a_tolerance_counts_against_a_difference() -> None:
    """What is as close as that is no other number; of days it is a number of them."""
    assert [check("third != 0.374", by)["ok"] for by in ("0", "0.0009", "0.001")] == [True, True, False]
    assert [check('day <= "2026-02-12"', by)["ok"] for by in ("0", "1", "2")] == [False, False, True]


def test_the_values_of_an_answer_that_are_visited_are_limited() -> None:
    """A rule beyond the limit is unknown; one that was evaluated before keeps its result."""
    rules = [(expression.parse(text), Decimal(0)) for text in ("len(a.x) == n", "n > 0")]
    # Each step of a path counts for its values and one more: a, x and n are five beside the items.
    for count, ok in ((MAX_STEPS - 5, True), (MAX_STEPS - 4, None)):
        verdicts = evaluate(rules, {"a": [{"x": 1}] * count, "n": count})
        assert [verdict.ok for verdict in verdicts] == [ok, None]


@pytest.mark.parametrize(
    "rule",
    [
        "n == 1" + " " * 994,
        "(" * 31 + "n" + ")" * 31 + " == 1",
        "n" + " + n" * 100 + " == 1",
        "n == " + "1" * 40,
        "n == 1e40",
        "n == 1e-40",
        "round(n, 2) == 1",
        "n / 0.1 == 1",
        " n==-1",
    ],
)
def test_a_rule_at_its_limits_is_a_rule(rule: str) -> None:
    """1,000 characters, 32 levels, 100 operators, 40 digits."""
    assert isinstance(expression.parse(rule), expression.Comparison)


@pytest.mark.parametrize(
    ("rule", "position", "words"),
    [
        ("n == 1" + " " * 995, 1001, "the maximum is 1,000"),
        ("(" * 32 + "n" + ")" * 32 + " == 1", 33, "32 levels"),
        ("n" + " + n" * 101 + " == 1", 403, "100 operators"),
        ("n == " + "1" * 41, 6, "40 digits"),
        ("n == 1e41", 6, "out of range"),
        ("n == 1e-41", 6, "out of range"),
        ("sum() == 1", 1, "takes 1 argument"),
        ("round(n, 1, 2) == 1", 1, "takes 1 or 2 arguments"),
        ("round(n,) == 1", 9, "where a value is expected"),
        ("round n == 1", 7, "after its end"),
        ("abs(n == 1", 7, "needs “)”"),
        ("len(1 + 2) == 1", 1, "a list of the answer"),
        ("present(n) + 1 == 2", 1, "numbers on both sides"),
        ("1 == present(n)", 6, "cannot be compared"),
        ("n == 1 ?", 8, "“?”"),
        ("n.3 == 1", 3, "without the name"),
        ("", 1, "ends too early"),
    ],
)
def test_a_rule_beyond_its_limits_is_refused_with_the_place(rule: str, position: int, words: str) -> None:
    with pytest.raises(RuleError) as caught:
        expression.parse(rule)

    assert words in str(caught.value)
    assert caught.value.position == position


def test_of_many_failed_rules_ten_are_shown() -> None:
    """Each with its sides; a function has none, a comparison of words no difference."""
    texts = ["n == 8", "present(none)", 'word == "x"', *(f"n == {number}" for number in range(10, 19))]
    checks = [{"name": text, "rule": text, "tolerance": "0"} for text in texts]
    results = review.review({"checks": checks}, json.dumps(ANSWER), ANSWER) or ()

    assert review.describe(results).endswith("; and 2 more") and "12 of 12 checks failed" in review.describe(results)
    assert review.describe(results[:10]).count("“") == 10 and "more" not in review.describe(results[:10])
    assert review.describe(results[:3]) == (
        "3 of 3 checks failed: “n == 8” is false: left is 7, right is 8, the difference is -1; "
        '“present(none)” is false; “word == "x"” is false: left is abc, right is x'
    )


@pytest.mark.parametrize(
    ("check_", "right", "wrong"),
    [
        (mod10, ["18", "1-8", "0" * 60, "4539 1488 0343 6467"], ["8", "19", "0" * 61, "81", "4539148803436476"]),
        (
            mod11,
            ["19", "6-", " 6 - ", "0" * 61, "no974760673", "974 760 673mva", "00000000019"],
            ["9", "18", "6", "-", "5-", "6-6", "0" * 62, "NO19", "1000000000019"],
        ),
    ],
)
def test_control_digits_of_short_and_long_numbers(check_: Any, right: list[str], wrong: list[str]) -> None:
    """From two digits to sixty, with or without what people write between them."""
    assert [text for text in right if not check_(text)] == []
    assert [text for text in wrong if check_(text)] == []


def below(**properties: Any) -> dict[str, Any]:
    return {"properties": properties}


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        ("a.b == 1", below(a={"type": "string"})),
        ("a.b == 1", below(a={"type": ["string", "null"]})),
        ("a.b == 1", below(a={"enum": [1]})),
        ("a.b == 1", below(a={"const": 1})),
        ("b == 1", below(a={})),
        ("b == 1", {**below(a={}), "additionalProperties": False}),
        ("b == 1", {"additionalProperties": False}),
        ("a.x.y == 1", below(a={"additionalProperties": {"type": "number"}})),
        ("a.c == 1", {**below(a={"$ref": "#/$defs/x~1y/~0"}), "$defs": {"x/y": {"~": below(b={})}}}),
        ("a.c == 1", below(a={"anyOf": [below(b={}), {"type": "null"}]})),
        ("a.c == 1", below(a={"$ref": "#"})),
        ("a.c == 1", below(a={"items": {"items": below(b={})}})),
        ("sum(a) == 1", below(a={"type": "number"})),
        ("sum(a) == 1", below(a={"type": "string"})),
        ("len(a) == 1", below(a={"type": ["number", "null"]})),
        ("abs(sum(a)) == 1", below(a={"type": "number"})),
        ("1 == 2 + min(a)", below(a={"oneOf": [{"type": "number"}, {"type": "null"}]})),
        ("max(a.b) == 1", below(a=below(b={"type": "number"}))),
    ],
)
def test_a_path_that_no_answer_can_have_is_refused(rule: str, schema: dict[str, Any]) -> None:
    """Whether the schema closes the object, gives it another type, or has no list where one is needed."""
    with pytest.raises(RuleError):
        schema_paths.check_paths(expression.parse(rule), schema)


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        ("a.b == 1", below(a={"type": ["object", "null"]})),
        ("a.b == 1", below(a={"type": "array"})),
        ("a.b == 1", below(a=True)),
        ("a.b == 1", below(a={})),
        ("b == 1", {**below(a={}), "additionalProperties": True}),
        ("b.c == 1", {**below(a={}), "additionalProperties": below(c={})}),
        *(("b == 1", {**below(a={}), key: {}}) for key in ("patternProperties", "if", "not", "$dynamicRef")),
        ("a == 1", {"$ref": "other.json"}),
        ("a.c == 1", below(a={"$ref": "other.json"})),
        ("a.c == 1", {**below(a={"$ref": "#/$defs/missing/deep"}), "$defs": {}}),
        ("a.c == 1", below(a={"anyOf": [below(b={}), below(c={})]})),
        ("a.b == 1", below(a={"items": {"items": below(b={})}})),
        ("a.b == 1", below(a={**below(b={}), "anyOf": [{"required": ["b"]}]})),
        ("len(a) > 0", below(a={"type": "string"})),
        ("sum(a) == 1", below(a={})),
        ("sum(a) == 1", below(a={"type": "array"})),
        ("sum(a) == 1", below(a={"type": ["array", "number"]})),
        ("sum(a) == 1", below(a={"anyOf": [{"type": "number"}, {"type": "array"}]})),
        ("sum(a.b) == 1", below(a={"type": "array", "items": below(b={"type": "number"})})),
        ("sum(a.b) == 1", below(a={**below(b={"type": "number"}), "type": ["object", "array"]})),
        ("sum(a.b) == 1", below(a={"type": "object"})),
    ],
)
def test_a_path_that_some_answer_may_have_is_accepted(rule: str, schema: dict[str, Any]) -> None:
    """Wherever the schema leaves a place open, in one of its choices or behind a reference that is not its own."""
    schema_paths.check_paths(expression.parse(rule), schema)
