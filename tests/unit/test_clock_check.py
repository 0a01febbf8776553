"""Implausible clocks."""

import pytest

from claude_relay.core.clock_check import find_clock_problem

_2026, _2056 = 1_780_000_000.0, 2_727_000_000.0


@pytest.mark.parametrize(
    "now, newest, words",
    [
        (0.0, None, "the clock says 1970-01-01T00:00:00.000Z"),
        (86_400.0, _2026, "the clock says 1970-01-02"),
        (_2026, _2056, "the store's newest job is of 2056"),
    ],
)
def test_an_implausible_clock_is_reported(now, newest, words):
    assert words in find_clock_problem(now, newest)


@pytest.mark.parametrize("newest", [None, _2026, _2026 + 86_400 * 30, _2026 - 86_400 * 3000])
def test_hours_and_days_prove_nothing(newest):
    assert find_clock_problem(_2026, newest) is None


def test_the_year_of_the_program_and_a_year_before_the_newest_job_are_plausible():
    """To the second: the first of the year 2026, and 366 days."""
    oldest, year = 1_767_225_600.0, 366 * 86_400.0

    assert find_clock_problem(oldest, None) is None and find_clock_problem(oldest - 1, None)
    assert find_clock_problem(_2026, _2026 + year) is None and find_clock_problem(_2026, _2026 + year + 1)
