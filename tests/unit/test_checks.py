"""Checks of an answer: their language, their arithmetic, and the paths that a schema rules out."""

from __future__ import annotations

import json
import random
import re
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.checks import expression, review, schema_paths
from claude_relay.core.checks.control_digits import mod10, mod11
from claude_relay.core.checks.expression import RuleError

INVOICE = {
    "currency": "NOK",
    "invoiceDate": "2026-01-15",
    "dueDate": "2026-02-14",
    "kid": "2345676",
    "orgNumber": "923 609 016",
    "lines": [{"amount": 0.1, "quantity": 1}, {"amount": 0.2, "quantity": 2}],
    "subtotal": 0.3,
    "vat": "0.075",
    "total": 0.375,
    "note": None,
    "none": [],
    "net-weight": 3,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "dueDate": {"type": ["string", "null"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "extra": {"type": "object", "additionalProperties": True},
    },
    "$defs": {"line": {"type": "object", "properties": {"amount": {"type": "number"}}}},
}


def check(rule: str, answer: Any = INVOICE, tolerance: str = "0") -> dict[str, Any]:
    checks = [{"name": rule, "rule": rule, "tolerance": tolerance}]
    results = review.review({"checks": checks}, json.dumps(answer), answer)
    assert results is not None
    return results[0]


@pytest.mark.parametrize(
    ("rule", "ok"),
    [
        ("sum(lines.amount) == subtotal", True),  # 0.1 + 0.2 is 0.3
        ("subtotal + vat == total", True),  # a number in quotes counts as one
        ("dueDate >= invoiceDate", True),
        ("dueDate - 1 >= invoiceDate", None),
        ("mod10(kid)", True),
        ("mod11(orgNumber)", True),
        ("present(currency)", True),
        ("present(note)", False),
        ("present(missing.deep)", False),
        ("len(lines) > 0", True),
        ("len(lines) == 2", True),
        ("sum(lines.quantity) * 2 - 1 == 5", True),
        ("sum(lines.amount * lines.quantity) == 0.5", True),
        ("lines.amount <= 0.1", False),
        ("lines.amount > 0", True),
        ("-total < 0", True),
        ("(total - subtotal) / subtotal == 0.25", True),
        ("round(total, 2) == 0.38", True),
        ("abs(0 - total) == total", True),
        ("max(lines.amount) == 0.2", True),
        ('currency == "NOK"', True),
        ("currency == 'EUR'", False),
        ("`net-weight` == net-weight", True),
        ("currency < total", None),
        ("note == 0", None),
        ("missing == 0", None),
        ("sum(lines.missing) == 0", None),
        ("sum(none) == 0", True),  # of no items it is 0
        ("max(none) == 0", None),
        ("min(none) == 0", None),
        ("sum(currency) == 0", None),
        ("len(none) == 0", True),
        ("total / (subtotal - 0.3) == 1", None),
        ("mod10(note)", None),
        ("mod10(total)", None),
    ],
)
def test_a_rule_is_true_false_or_unknown(rule: str, ok: bool | None) -> None:
    """A missing or null operand, and one of another type, makes a rule unknown; only present() is then false."""
    assert check(rule)["ok"] is ok


def test_a_result_has_both_sides_and_their_difference() -> None:
    """Decimals as strings without binary noise, dates in days, and nothing for a function."""
    answer = {**INVOICE, "total": 1234.56, "dueDate": "2026-01-10"}

    assert check("subtotal + vat == total", answer) == {
        "name": "subtotal + vat == total",
        "rule": "subtotal + vat == total",
        "ok": False,
        "left": "0.375",
        "right": "1234.56",
        "difference": "-1234.185",
    }
    late = check("dueDate >= invoiceDate", answer)
    assert (late["ok"], late["left"], late["right"], late["difference"]) == (False, "2026-01-10", "2026-01-15", "-5")
    row = check("lines.amount == lines.quantity", answer)
    assert (row["ok"], row["left"], row["right"]) == (False, "0.1", "1")
    assert check("mod10(kid)", {"kid": "2345675"}) | {"name": "", "rule": ""} == {
        "name": "", "rule": "", "ok": False, "left": None, "right": None, "difference": None,
    }  # fmt: skip


def test_decimals_are_read_as_written() -> None:
    """An amount of more digits than a float holds is compared exactly."""
    text = '{"a": 12345678901234567.01, "b": 12345678901234567.02}'
    checks = [{"name": "x", "rule": "a == b", "tolerance": "0"}]
    results = review.review({"checks": checks}, f"```json\n{text}\n```", json.loads(text))

    assert results is not None and results[0]["difference"] == "-0.01"


@pytest.mark.parametrize(
    ("rule", "tolerance", "ok"),
    [
        ("total == 0.38", "0.005", True),
        ("total == 0.38", "0.004", False),
        ("total >= 0.38", "0.005", True),
        ("total != 0.38", "0.005", False),
        ("dueDate <= invoiceDate", "30", True),
    ],
)
def test_a_tolerance_is_absolute(rule: str, tolerance: str, ok: bool) -> None:
    """It counts in favour of a comparison, in days for dates."""
    assert check(rule, tolerance=tolerance)["ok"] is ok


def test_dates_in_words_and_numbers_out_of_range_are_unknown() -> None:
    """Text is not ordered: 31.12.2026 would be after 01.01.2027."""
    assert check("a < b", {"a": "31.12.2026", "b": "01.01.2027"})["ok"] is None
    assert check("a < b", {"a": "2026-13-01", "b": "2026-01-01"})["ok"] is None
    text = '{"a": 1e999, "b": 1}'
    results = review.review({"checks": [{"name": "", "rule": "a > b", "tolerance": "0"}]}, text, None)
    assert results is not None and results[0]["ok"] is None


@pytest.mark.parametrize(
    ("rule", "position", "words"),
    [
        ("total ==", 9, "ends too early"),
        ("total = 3", 7, "“=”"),
        ("total", 6, "is no rule"),
        ("(total == 3)", 8, "needs “)”"),
        ("total == 3 4", 12, "after its end"),
        ("total / 0 == 1", 9, "divides by zero"),
        ("total == 1e999", 10, "out of range"),
        ("exec(total) == 1", 1, "exec()"),
        ("sum(total, 2) == 1", 1, "takes 1 argument"),
        ("mod10(3)", 1, "a field of the answer"),
        ("sum(3) == 3", 1, "a list of the answer"),
        ("mod10(kid) == 1", 1, "cannot be compared"),
        ("lines. == 3", 8, "without the name"),
        ('total + "x" == 1', 9, "numbers on both sides"),
        ("(" * 100 + "total" + ")" * 100 + " == 1", 33, "32 levels"),
        ("total" + " + total" * 110 + " == 1", 807, "100 operators"),
        ("total == " + "1" * 2000, 1001, "1,000"),
        ("total == 'x", 10, "“'”"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_its_position(rule: str, position: int, words: str) -> None:
    """Positions count characters from 1."""
    with pytest.raises(RuleError) as caught:
        expression.parse(rule)

    assert words in str(caught.value)
    assert caught.value.position == position


@given(st.text(alphabet="abλ.,()+-*/<>=! \"'`09eE_\n", max_size=60))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    """Parsing raises nothing but `RuleError`, and a rule evaluates without an error."""
    try:
        expression.parse(text)
    except RuleError:
        return
    assert check(text, {"a": 1, "b": [1, 2], "λ": "x"})["ok"] in (True, False, None)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("totl == 1", "did you mean total?"),
        ("lines.amont > 0", "did you mean amount?"),
        ("total.deep == 1", "has no deep"),
        ("sum(total) == 1", "needs a list"),
        ("len(total) == 1", "needs a list"),
    ],
)
def test_a_path_that_the_schema_rules_out_is_refused(rule: str, words: str) -> None:
    """A misspelt name is found before anything is paid."""
    with pytest.raises(RuleError, match=words):
        schema_paths.check_paths(expression.parse(rule), SCHEMA)


@pytest.mark.parametrize(
    ("rule", "schema"),
    [
        ("sum(lines.amount) == total", SCHEMA),
        ("len(dueDate) > 0", SCHEMA),
        ("sum(a.b) == 1", {"properties": {"a": {"type": "array", "items": {"properties": {"b": {"type": "number"}}}}}}),
        ("sum(a.b) == 1", {"properties": {"a": {"items": {"properties": {"b": {"type": "number"}}}}}}),
        (
            "sum(a.b) == 1",
            {"type": ["array", "object"], "properties": {"a": {"properties": {"b": {"type": "number"}}}}},
        ),
        ("extra.anything.deep == 1", SCHEMA),
        ("a.b == 1", {"type": "object"}),
        ("a.b == 1", {"anyOf": [{"properties": {"c": {}}}, {"properties": {"a": {}}}]}),
        ("a.a.a.a == 1", {"properties": {"a": {"$ref": "#"}}}),
        ("sum(a.a) == 1", {"type": "array", "items": {"$ref": "#"}}),
        ("a == 1", {"allOf": [{"$ref": "#"}]}),
        ("a == 1", {"properties": {"b": {}}, "patternProperties": {"^a": {}}}),
    ],
)
def test_a_path_that_the_schema_allows_or_leaves_open_is_accepted(rule: str, schema: dict[str, Any]) -> None:
    """References, choices, recursion and open objects."""
    schema_paths.check_paths(expression.parse(rule), schema)


def test_control_digits() -> None:
    """Luhn, and modulus 11 with weights 2 to 7; a changed digit is found."""
    assert mod10("79927398713") and not mod10("79927398710")
    assert (
        mod11("974760673")
        and mod11("NO 974 760 673 MVA")
        and mod11("1234.56.78903".replace("1234.56.78903", "86011117947"))
    )
    assert not mod11("974760674") and not mod11("abc") and not mod10("") and not mod10("1")
    assert not mod10("١٢٣")  # other digits are not read


def test_a_result_is_short_and_a_quotient_without_end_counts_as_exact() -> None:
    """No zeros at the end, at most 15 digits of a third; and three thirds are the whole."""
    answer = {"a": 100, "b": 33.30, "lines": [{"x": 60.50}, {"x": 39.50}]}
    summed = check("sum(lines.x) == a", answer)
    assert (summed["ok"], summed["left"], summed["difference"]) == (True, "100", "0")
    third = check("a / 3 == b", answer)
    assert (third["left"], third["right"], third["difference"]) == ("33.3333333333333", "33.3", "0.0333333333333333")
    assert check("a / 3 * 3 == a", answer) | {"name": "", "rule": ""} == {
        "name": "", "rule": "", "ok": True, "left": "100", "right": "100", "difference": "0",
    }  # fmt: skip
    long = "1234567890123456789012345678901234567.01"
    written = review.review(
        {"checks": [{"name": "x", "rule": "a == b", "tolerance": "0"}]}, f'{{"a": {long}, "b": 0.00}}', {}
    )
    assert written is not None and written[0]["difference"] == long, "what was written is shown with all its digits"


@pytest.mark.parametrize(
    ("digits", "shown"), [(29, "1." + 29 * "7"), (30, "1.77777777777778"), (-30, 30 * "7"), (-31, 31 * "7")]
)
def test_a_number_of_up_to_thirty_digits_is_shown_in_full_beside_a_third(digits: int, shown: str) -> None:
    """Of a longer one 15 are; digits before the point are never left out."""
    long = "1." + digits * "7" if digits > 0 else -digits * "7"
    checks = [{"name": "x", "rule": "a / 3 == b", "tolerance": "0"}]
    written = review.review({"checks": checks}, f'{{"a": 1, "b": {long}}}', {})

    assert written is not None and (written[0]["left"], written[0]["right"]) == ("0.333333333333333", shown)


def test_planted_faults_are_all_found() -> None:
    """Of 500 invoices 250 have a wrong sum: each is reported with its difference, and no other."""
    rng = random.Random(7)
    for number in range(500):
        amounts = [Decimal(rng.randrange(1, 10**7)).scaleb(-2) for _ in range(rng.randint(1, 12))]
        fault = Decimal(rng.choice([-1, 1]) * rng.randrange(1, 10**5)).scaleb(-2) if number % 2 else Decimal(0)
        text = json.dumps(
            {"lines": [{"amount": float(item)} for item in amounts], "total": float(sum(amounts) + fault)}
        )
        checks = [{"name": "sum", "rule": "sum(lines.amount) == total", "tolerance": "0"}]
        results = review.review({"checks": checks}, text, json.loads(text))

        assert results is not None
        assert results[0]["ok"] is (fault == 0)
        assert Decimal(results[0]["difference"]) == -fault


def test_a_hostile_answer_is_bounded() -> None:
    """Fifty rules over a list of 100,000 items end by the limit of steps, as unknown."""
    answer = {"lines": [{"amount": 1}] * 100_000}
    checks = [{"name": "", "rule": "lines.amount * lines.amount == lines.amount", "tolerance": "0"}] * 50
    began = time.process_time()
    results = review.review({"checks": checks}, json.dumps(answer), answer)

    assert results is not None and results[-1]["ok"] is None
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("operator", "below", "equal", "above"),
    [("==", 0, 1, 0), ("!=", 1, 0, 1), ("<", 1, 0, 0), ("<=", 1, 1, 0), (">", 0, 0, 1), (">=", 0, 1, 1)],
)
def test_each_comparison_below_at_and_above_equality(operator: str, below: int, equal: int, above: int) -> None:
    for left, expected in ((1, below), (2, equal), (3, above)):
        assert check(f"{left} {operator} len(lines)")["ok"] is bool(expected)


def test_a_function_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(RuleError, match=re.escape("sum(), min(), max(), len(), abs(), round()")):
        expression.parse("exec(total) == 1")
