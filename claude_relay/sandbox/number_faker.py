"""A number within the limits of a JSON Schema, close to a plausible one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from claude_relay.sandbox.schema_merge import UnsatisfiableSchema

KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def number(node: Mapping[str, Any], hint: float, *, integer: bool) -> float:
    """The hint if it is allowed, else an allowed number close to it."""
    limits = {key: node[key] for key in KEYWORDS if key in node}
    for candidate in _candidates(limits, hint):
        value = round(candidate) if integer else candidate
        if _allowed(value, limits):
            return value
    raise UnsatisfiableSchema("no number is within its limits")


def _candidates(limits: Mapping[str, float], hint: float) -> Iterator[float]:
    low = max((limits[key] for key in ("minimum", "exclusiveMinimum") if key in limits), default=None)
    high = min((limits[key] for key in ("maximum", "exclusiveMaximum") if key in limits), default=None)
    nearest = hint
    if low is not None and nearest < low:
        nearest = low
    if high is not None and nearest > high:
        nearest = high
    step = limits.get("multipleOf")
    if step is not None:
        first = math.floor(nearest / step)
        multiples = [(first + sign * distance) * step for distance in range(500) for sign in (1, -1)]
        # Rounded ones first: 7 * 0.1 is a multiple of 0.1 to a validator, but 0.7000000000000001 is not plausible.
        yield from (round(value, 6) for value in multiples)
        yield from multiples
        return
    yield nearest
    if low is not None and high is not None:
        yield from (round((low + high) / 2, 2), (low + high) / 2, low + 1, high - 1)
    yield from (nearest + 1, nearest - 1)


def _allowed(value: float, limits: Mapping[str, float]) -> bool:
    if value < limits.get("minimum", -math.inf) or value > limits.get("maximum", math.inf):
        return False
    if value <= limits.get("exclusiveMinimum", -math.inf) or value >= limits.get("exclusiveMaximum", math.inf):
        return False
    step = limits.get("multipleOf")
    if step is None:
        return True
    # As validators do: by the quotient for fractions, since 0.3 % 0.1 is nearly 0.1.
    return (value / step).is_integer() if isinstance(step, float) else value % step == 0
