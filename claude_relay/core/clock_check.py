"""Plausibility of the wall clock at startup: due times, deadlines and retention depend on it."""

from __future__ import annotations

from .wire import timestamp

#: 2026-01-01: an earlier time is wrong, as this program is newer.
_OLDEST = 1_767_225_600.0
_YEAR = 366 * 86400.0


def find_clock_problem(now: float, newest: float | None) -> str | None:
    """The problem with the clock, given the time of the newest job, or None; hours or days prove nothing."""
    if now < _OLDEST:
        return f"the clock says {timestamp(now)}"
    if newest is not None and now < newest - _YEAR:
        return f"the clock says {timestamp(now)}, and the store's newest job is of {timestamp(newest)}"

    return None
