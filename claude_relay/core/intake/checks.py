"""Parsing of `options.checks`: rules on the parsed answer."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..checks import expression, schema_paths
from ..text.json_values import safe_quote
from .fields import Fields, kind

MAX_CHECKS, MAX_NAME = 50, 100
_KEYS = ("name", "rule", "tolerance")


def read_checks(fields: Fields, schema: Mapping[str, Any] | None) -> list[dict[str, str]] | None:
    """The rules to store, each with name, rule and tolerance as strings; every problem is at `options.checks[n]`."""
    values = fields.array("checks")
    if values is None:
        return None
    if schema is None:
        fields.problem("checks", "needs outputSchema: a rule reads the fields of the parsed answer")
        return None
    if len(values) > MAX_CHECKS:
        fields.problem("checks", f"has {len(values):,} rules: the maximum is {MAX_CHECKS}")
        return None

    checks = []
    for index, value in enumerate(values):
        try:
            checks.append(_read(value, schema))
        except expression.RuleError as exc:
            fields.problem(f"checks[{index}]", f"{exc} (position {exc.position})")
        except ValueError as exc:
            fields.problem(f"checks[{index}]", str(exc))

    return checks


def _read(value: object, schema: Mapping[str, Any]) -> dict[str, str]:
    if isinstance(value, str):
        value = {"rule": value}
    if not isinstance(value, dict):
        raise ValueError(f'must be a rule such as "subtotal + vat == total", not {kind(value)}')
    if unknown := [key for key in value if key not in _KEYS]:
        raise ValueError(f"has the field {safe_quote(unknown[0])}: only {', '.join(_KEYS)} are read")
    text = value.get("rule")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("needs a rule, as a string in quotes")
    name = value.get("name")
    if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME):
        raise ValueError(f"has a name that is not a string of at most {MAX_NAME} characters")
    schema_paths.check_paths(expression.parse(text), schema)

    return {
        "name": name.strip() if name and name.strip() else text.strip()[:MAX_NAME],
        "rule": text.strip(),
        "tolerance": _tolerance(value.get("tolerance")),
    }


def _tolerance(value: object) -> str:
    """The absolute tolerance as a decimal string."""
    if value is None or value == "":
        return "0"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"has a tolerance that must be a number from 0 to 1000000000, not {kind(value)}")
    try:
        tolerance = Decimal(repr(value) if isinstance(value, float) else value)
    except ArithmeticError:
        tolerance = Decimal(-1)
    if not (tolerance.is_finite() and 0 <= tolerance <= 10**9 and abs(tolerance.adjusted()) <= expression.MAX_DIGITS):
        raise ValueError("has a tolerance that is no number from 0 to 1000000000")

    return format(tolerance, "f")
