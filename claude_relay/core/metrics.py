"""Metrics that are counted in workers and summed in the store: their names, buckets and series."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence

#: The series of one sum: metric, label, and the outcome or upper bound within it.
Series = tuple[str, str, str]

DELIVERY_ATTEMPTS = "delivery_attempts"
START, CALL, DELIVERY = "start_seconds", "call_seconds", "delivery_seconds"
DISK_FREE = "disk_free_bytes"
#: How the POST of a callback ends.
ATTEMPT_OUTCOMES = ("delivered", "retry", "dead")
#: The bound of the sum of all observations of a histogram, which is kept beside its buckets.
SUM = "sum"
OTHER = "other"
#: Values of a label that are shown by name.
MAX_NAMES = 100

_WAITS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
#: Upper bounds of each histogram, in seconds.
BUCKETS: Mapping[str, Sequence[float]] = {
    START: _WAITS,
    CALL: (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
    DELIVERY: _WAITS,
}
#: Upper bounds of the time until a submit is answered, in seconds.
ACCEPT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def observation(metric: str, label: str, seconds: float) -> dict[Series, float]:
    """The additions that one observation makes to the series of a histogram."""
    bounds = BUCKETS[metric]
    position = bisect.bisect_left(bounds, seconds)
    bound = bounds[position] if position < len(bounds) else math.inf

    return {(metric, label, bound_text(bound)): 1.0, (metric, label, SUM): max(0.0, seconds)}


def cumulative(metric: str, values: Mapping[str, float]) -> tuple[list[tuple[str, float]], float]:
    """The buckets of a histogram as Prometheus has them, each with all below it, and the sum."""
    buckets, total = [], 0.0
    for bound in (*BUCKETS[metric], math.inf):
        total += values.get(bound_text(bound), 0.0)
        buckets.append((bound_text(bound), total))

    return buckets, values.get(SUM, 0.0)


def bound_text(bound: float) -> str:
    """An upper bound as a label."""
    return "+Inf" if bound == math.inf else repr(float(bound))


def limit_names(values: Mapping[str, float], limit: int = MAX_NAMES) -> dict[str, float]:
    """The largest values by name, and the sum of the rest as `other`."""
    if len(values) <= limit:
        return dict(values)
    largest = sorted(values, key=lambda name: (-values[name], name))[:limit]
    kept = {name: values[name] for name in largest}
    kept[OTHER] = kept.get(OTHER, 0.0) + sum(value for name, value in values.items() if name not in kept)

    return kept
