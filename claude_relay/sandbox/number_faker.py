"""A number within the limits of a JSON Schema, as near as may be to a plausible one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from claude_relay.sandbox.schema_merge import UnsatisfiableSchema

KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def number(node: Mapping[str, Any], hint: float, *, whole: bool) -> float:
    """The hint if it is allowed, else the nearest thing to it that is."""
    limits = {key: node[key] for key in KEYWORDS if key in node}
    for candidate in _candidates(limits, hint):
        value = round(candidate) if whole else candidate
        if _allowed(value, limits):
            return value
    raise UnsatisfiableSchema("no number is within its limits")


def _candidates(limits: Mapping[str, float], hint: float) -> Iterator[float]:
    low = max((limits[key] for key in ("minimum", "exclusiveMinimum") if key in limits), default=None)
    high = min((limits[key] for key in ("maximum", "exclusiveMaximum") if key in limits), default=None)
    near = hint
    if low is not None and near < low:
        near = low
    if high is not None and near > high:
        near = high
    step = limits.get("multipleOf")
    if step is not None:
        first = math.floor(near / step)
        multiples = [(first + sign * away) * step for away in range(500) for sign in (1, -1)]
        # Neat ones first: 7 * 0.1 is a multiple of 0.1 to a validator, but 0.7000000000000001 is no plausible amount.
        yield from (round(value, 6) for value in multiples)
        yield from multiples
        return
    yield near
    if low is not None and high is not None:
        yield from (round((low + high) / 2, 2), (low + high) / 2, low + 1, high - 1)
    yield from (near + 1, near - 1)


def _allowed(value: float, limits: Mapping[str, float]) -> bool:
    if value < limits.get("minimum", -math.inf) or value > limits.get("maximum", math.inf):
        return False
    if value <= limits.get("exclusiveMinimum", -math.inf) or value >= limits.get("exclusiveMaximum", math.inf):
        return False
    step = limits.get("multipleOf")
    if step is None:
        return True
    # As validators judge it: the quotient itself, for fractions, since 0.3 % 0.1 is nearly 0.1.
    return (value / step).is_integer() if isinstance(step, float) else value % step == 0
