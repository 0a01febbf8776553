"""
Evaluation of checks over a parsed answer, in exact decimal arithmetic.

A value that is missing, null or of another type than its place needs makes a rule unknown, never failed. A rule over
lists without a function compares their items one by one, and shows the first pair that fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import date
from decimal import Context, Decimal, Inexact, InvalidOperation, getcontext, localcontext
from decimal import DivisionByZero as DecimalDivisionByZero
from decimal import Overflow as DecimalOverflow
from typing import Any

from ..lazy_dataclass import dataclass
from . import control_digits
from .expression import MAX_DIGITS, Arithmetic, Comparison, Function, Node, Number, Path, Rule, String

#: Values that are visited for all rules of an answer together; a rule beyond that is unknown.
MAX_STEPS = 500_000
#: Twice the digits of an operand, for a product, and some for the sum of many.
_CONTEXT = Context(prec=2 * MAX_DIGITS + 20, traps=[InvalidOperation, DecimalDivisionByZero, DecimalOverflow])
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T.*)?", re.ASCII | re.DOTALL)

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}

_EXTREMES: Mapping[str, Callable[[list[Decimal]], Decimal]] = {"min": min, "max": max}
_HALF_UP = "ROUND_HALF_UP"
#: A quotient without end is compared to this many decimals, as many as an operand may have, and shown in this many
#: digits: a / 3 * 3 is a, and a message has no hundred digits.
_DECIMALS, _SHOWN = Decimal(1).scaleb(-MAX_DIGITS), 15


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    The result of one rule: `ok` None is unknown.

    The sides are texts: decimals without an exponent and zeros at the end, dates and strings as they are; `difference`
    is left less right, in days for dates.
    """

    ok: bool | None
    left: str | None = field(default=None, repr=False)
    right: str | None = field(default=None, repr=False)
    difference: str | None = field(default=None, repr=False)


_UNKNOWN = Verdict(ok=None)


class _Unknown(Exception):
    """An operand is missing, null, or of a type that the operation does not take."""


def evaluate(rules: Sequence[tuple[Rule, Decimal]], answer: Any) -> list[Verdict]:
    """Evaluate rules, each with its tolerance, over the parsed answer. Never raises for what an answer holds."""
    evaluator = _Evaluator(answer)
    with localcontext(_CONTEXT):
        return [evaluator.verdict(rule, tolerance) for rule, tolerance in rules]


class _Evaluator:
    """One answer, and the steps that are left for it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._steps = MAX_STEPS

    def verdict(self, rule: Rule, tolerance: Decimal) -> Verdict:
        getcontext().clear_flags()
        try:
            if isinstance(rule, Function):
                return Verdict(ok=self._predicate(rule))
            return self._compare(rule, tolerance)
        except (_Unknown, InvalidOperation, DecimalDivisionByZero, DecimalOverflow):
            return _UNKNOWN

    def _compare(self, rule: Comparison, tolerance: Decimal) -> Verdict:
        left, right = self._side(rule.left, rule), self._side(rule.right, rule)
        if not isinstance(left, list) and not isinstance(right, list):
            return _compare_values(rule.operator, left, right, tolerance)
        verdicts = [_compare_values(rule.operator, *pair, tolerance) for pair in self._pairs(left, right)]
        failed = [verdict for verdict in verdicts if verdict.ok is False]
        if failed:
            return failed[0]

        return Verdict(ok=True) if all(verdict.ok for verdict in verdicts) else _UNKNOWN

    def _side(self, node: Node, rule: Comparison) -> Any:
        """One side; beside a string in quotes a field is compared as written, so that “007” is not 7."""
        if rule.operator not in ("==", "!="):
            return _scalar(node.value) if isinstance(node, String) else self._value(node)
        other = rule.right if node is rule.left else rule.left
        if isinstance(node, Path) and isinstance(other, String):
            value = self._resolve(node)
            return [_text(item) for item in value] if isinstance(value, list) else _text(value)

        return self._value(node)

    def _predicate(self, rule: Function) -> bool:
        path = rule.arguments[0]
        assert isinstance(path, Path)  # by the parser
        values = self._resolve(path)
        items = values if isinstance(values, list) else [values]
        if rule.name == "present":
            return bool(items) and all(item is not None and item not in ("", [], {}) for item in items)

        check = control_digits.mod10 if rule.name == "mod10" else control_digits.mod11
        if not items or any(isinstance(item, bool) or not isinstance(item, (str, int)) for item in items):
            raise _Unknown
        if any(isinstance(item, str) and not item.strip() for item in items):
            raise _Unknown

        return all(check(str(item)) for item in items)

    def _value(self, node: Node) -> Any:
        """A number, a date, a string, or a list of them."""
        if isinstance(node, Number | String):
            return node.value
        if isinstance(node, Path):
            values = self._resolve(node)
            return [_scalar(item) for item in values] if isinstance(values, list) else _scalar(values)
        if isinstance(node, Function):
            return self._call(node)

        return self._arithmetic(node)

    def _call(self, node: Function) -> Any:
        argument = node.arguments[0]
        if node.name == "len":
            values = self._resolve(argument) if isinstance(argument, Path) else self._value(argument)
            if not isinstance(values, (list, str)):
                raise _Unknown
            return Decimal(len(values))
        value = self._value(argument)
        if node.name in ("sum", "min", "max"):
            if not isinstance(value, list) or (not value and node.name != "sum"):
                raise _Unknown
            numbers = [_number(item) for item in value]
            return sum(numbers, Decimal(0)) if node.name == "sum" else _EXTREMES[node.name](numbers)
        places = _number(self._value(node.arguments[1])) if len(node.arguments) == 2 else Decimal(0)
        if places != int(places) or not 0 <= places <= MAX_DIGITS:
            raise _Unknown

        def apply(item: Any) -> Decimal:
            number = _number(item)
            return abs(number) if node.name == "abs" else number.quantize(Decimal(1).scaleb(-int(places)), _HALF_UP)

        return [apply(item) for item in value] if isinstance(value, list) else apply(value)

    def _arithmetic(self, node: Arithmetic) -> Any:
        left, right = self._value(node.left), self._value(node.right)
        if isinstance(left, list) or isinstance(right, list):
            return [_operate(node.operator, *pair) for pair in self._pairs(left, right)]

        return _operate(node.operator, left, right)

    def _pairs(self, left: Any, right: Any) -> list[tuple[Any, Any]]:
        """The items of two lists of one length, or of a list with the same value beside each."""
        if not isinstance(left, list):
            left = [left] * len(right)
        if not isinstance(right, list):
            right = [right] * len(left)
        if len(left) != len(right):
            raise _Unknown
        self._spend(len(left))

        return list(zip(left, right, strict=True))

    def _resolve(self, path: Path) -> Any:
        """
        The value at a path, or None.

        Where the path passes a list, a list of the values in all its items.
        """
        values, many = [self._answer], False
        for name in path.names:
            if any(isinstance(value, list) for value in values):
                many = True
                values = [item for value in values for item in (value if isinstance(value, list) else [value])]
            self._spend(len(values))
            values = [value.get(name) if isinstance(value, dict) else None for value in values]
        if many or isinstance(values[0], list):
            return [item for value in values for item in (value if isinstance(value, list) else [value])]

        return values[0]

    def _spend(self, steps: int) -> None:
        self._steps -= steps + 1
        if self._steps < 0:
            raise _Unknown


def _compare_values(operator: str, left: Any, right: Any, tolerance: Decimal) -> Verdict:
    if left is None or right is None:
        return _UNKNOWN
    if isinstance(left, str) or isinstance(right, str):
        return _compare_strings(operator, left, right)
    if isinstance(left, date) != isinstance(right, date):
        return _UNKNOWN
    if isinstance(left, date):
        days = (left - right).days
        ok = _within(operator, Decimal(days), tolerance)
        return Verdict(ok=ok, left=left.isoformat(), right=right.isoformat(), difference=str(days))
    difference = left - right
    shown = (left, right, difference)
    if getcontext().flags[Inexact]:
        difference = difference.quantize(_DECIMALS)
        shown = (_shortened(left), _shortened(right), _shortened(difference))
    ok = _within(operator, difference, tolerance)

    return Verdict(ok=ok, left=_plain(shown[0]), right=_plain(shown[1]), difference=_plain(shown[2]))


def _compare_strings(operator: str, left: Any, right: Any) -> Verdict:
    """Strings are equal or not; their order says nothing, as in a date such as 31.12.2026."""
    if operator not in ("==", "!="):
        return _UNKNOWN
    sides = [format(value, "f") if isinstance(value, Decimal) else str(value) for value in (left, right)]

    return Verdict(ok=_COMPARE[operator](*sides), left=sides[0], right=sides[1])


def _within(operator: str, difference: Decimal, tolerance: Decimal) -> bool:
    """The comparison with 0; the tolerance counts in favour of the rule, for `!=` against it."""
    if operator == "==":
        return abs(difference) <= tolerance
    if operator == "!=":
        return abs(difference) > tolerance
    shift = tolerance if operator in (">", ">=") else -tolerance

    return _COMPARE[operator](difference + shift, Decimal(0))


def _operate(operator: str, left: Any, right: Any) -> Decimal:
    a, b = _number(left), _number(right)
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b

    return a * b if operator == "*" else a / b


def _scalar(value: Any) -> Any:
    """A number, a date or a string; None for null. Raises `_Unknown` for anything else."""
    if value is None:
        return None
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return _bounded(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return _bounded(Decimal(text))
        if match := _DATE.fullmatch(text):
            try:
                return date.fromisoformat(match.group(1))
            except ValueError:
                return value
        return value

    raise _Unknown


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _scalar(value)


def _bounded(value: Decimal) -> Decimal:
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS or len(value.as_tuple().digits) > MAX_DIGITS:
        raise _Unknown

    return value


def _number(value: Any) -> Decimal:
    if not isinstance(value, Decimal):
        raise _Unknown

    return value


def _shortened(value: Decimal) -> Decimal:
    """A decimal beside a quotient without end, which is shown; digits before the point stay."""
    if len(value.as_tuple().digits) <= 2 * _SHOWN:
        return value

    return value.quantize(Decimal(1).scaleb(min(0, value.adjusted() + 1 - _SHOWN)))


def _plain(value: Decimal) -> str:
    """A decimal with all its digits, without an exponent and zeros at the end."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text

    return "0" if text == "-0" else text
