"""Metrics that are summed in the store: the buckets of a histogram, and names beyond the limit."""

from __future__ import annotations

import math

import pytest

from claude_relay.core import metrics


@pytest.mark.parametrize("metric", metrics.BUCKETS)
def test_an_observation_is_in_the_first_bucket_that_holds_it(metric: str) -> None:
    """At its bound it is inside; beyond the last there is one more. A clock that went back adds nothing to the sum."""
    bounds = metrics.BUCKETS[metric]
    assert list(bounds) == sorted(set(bounds))
    for seconds, bound in [(each, each) for each in bounds] + [(bounds[0] + 0.001, bounds[1]), (1e9, math.inf)]:
        assert metrics.observation(metric, "a", seconds) == {
            (metric, "a", metrics.bound_text(bound)): 1.0,
            (metric, "a", "sum"): seconds,
        }
    assert metrics.observation(metric, "a", -1.0)[metric, "a", "sum"] == 0.0


def test_a_bucket_of_prometheus_has_all_below_it() -> None:
    """Up to one without a bound; buckets that nothing was in are there."""
    values = {"0.5": 2.0, "30.0": 3.0, "+Inf": 1.0, "sum": 99.5}
    buckets, total = metrics.cumulative(metrics.CALL, values)

    assert total == 99.5 and metrics.cumulative(metrics.CALL, {})[1] == 0.0
    assert len(buckets) == len(metrics.BUCKETS[metrics.CALL]) + 1
    assert dict(buckets) | {"20.0": 2.0, "30.0": 5.0, "1800.0": 5.0, "+Inf": 6.0} == dict(buckets)
    assert buckets[0] == ("0.5", 2.0) and buckets[-1] == ("+Inf", 6.0)


def test_the_largest_values_have_names_and_the_rest_is_one() -> None:
    """Of equal ones the first by name; a value of the name `other` is part of the rest."""
    values = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 2.0}

    assert metrics.limit_names(values, 4) == values
    assert metrics.limit_names(values, 3) == {"b": 3.0, "c": 3.0, "d": 2.0, "other": 1.0}
    assert metrics.limit_names(values, 1) == {"b": 3.0, "other": 6.0}
    assert metrics.limit_names({**values, "other": 9.0}, 1) == {"other": 18.0}
    hundred = {str(number): 1.0 for number in range(100)}
    assert metrics.limit_names(hundred) == hundred and len(metrics.limit_names({**hundred, "x": 1.0})) == 101
