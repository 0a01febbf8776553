"""Axes of the dashboard's plots."""

from __future__ import annotations

import pytest

from claude_relay.dashboard.plots import _ceiling, short, short_age, short_money

_WIDEST = 8  # characters beside an axis


@pytest.mark.parametrize("label", [short, short_age, short_money], ids=lambda label: label.__name__)
def test_the_labels_of_an_axis_differ_and_fit_beside_it(label) -> None:
    """From a hundredth of a cent to ten million: none is cut off, and no two of one axis are alike."""
    tops = [_ceiling(value * 10.0**power) for power in range(-4, 8) for value in (1, 1.5, 3, 5, 9)]
    for top in tops if label is not short_age else [top for top in tops if 0.01 < top < 86_400]:
        ticks = [label(top * part) for part in (0.0, 0.5, 1.0)]
        assert len(set(ticks)) == 3, ticks
        assert max(map(len, ticks)) <= _WIDEST, ticks
