"""Whether the calendar can be believed at a start: due times, deadlines and what is purged hang on it."""

from __future__ import annotations

from .wire import timestamp

#: 2026-01-01: this program is younger than any clock that says less.
_OLDEST = 1_767_225_600.0
_YEAR = 366 * 86400.0


def find_clock_problem(now: float, newest: float | None) -> str | None:
    """What is wrong with it, given when the newest job came; None where nothing shows. Hours and days prove nothing."""
    if now < _OLDEST:
        return f"the clock says {timestamp(now)}"
    if newest is not None and now < newest - _YEAR:
        return f"the clock says {timestamp(now)}, and the store's newest job is of {timestamp(newest)}"

    return None
