"""The checks of a job applied to its answer: the results that the callback shows, and the failures in words."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..text.json_values import strip_fence
from .evaluate import evaluate
from .expression import Rule, parse

#: Failed rules that Claude is shown; more would fill the prompt and say no more.
_SHOWN = 10


def review(options: Mapping[str, Any], text: str, value: Any) -> tuple[dict[str, Any], ...] | None:
    """
    The results of `options.checks` for an answer, or None where there are none.

    `text` is read again, as `value` has binary fractions; without a readable one `value` counts.
    """
    checks = options.get("checks")
    if not checks:
        return None
    rules = [(_parse(check["rule"]), Decimal(check["tolerance"])) for check in checks]
    verdicts = evaluate(rules, _exact(text, value))

    return tuple(
        {
            "name": check["name"],
            "rule": check["rule"],
            "ok": verdict.ok,
            "left": verdict.left,
            "right": verdict.right,
            "difference": verdict.difference,
        }
        for check, verdict in zip(checks, verdicts, strict=True)
    )


def failed(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The results of rules that are false; unknown ones are not among them."""
    return [result for result in results if result["ok"] is False]


def describe(results: Sequence[Mapping[str, Any]]) -> str:
    """The failed rules with both sides and their difference, for Claude and for people."""
    broken = failed(results)
    parts = [_describe(result) for result in broken[:_SHOWN]]
    more = f"; and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""

    return f"{len(broken)} of {len(results)} checks failed: {'; '.join(parts)}{more}"


def _describe(result: Mapping[str, Any]) -> str:
    if result["left"] is None:
        return f"“{result['rule']}” is false"
    difference = f", the difference is {result['difference']}" if result["difference"] is not None else ""

    return f"“{result['rule']}” is false: left is {result['left']}, right is {result['right']}{difference}"


def _exact(text: str, value: Any) -> Any:
    """The answer with decimals as written; a number that no decimal holds makes its rules unknown."""
    try:
        return json.loads(strip_fence(text), parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        return value


@functools.lru_cache(maxsize=1_000)
def _parse(rule: str) -> Rule:
    return parse(rule)
