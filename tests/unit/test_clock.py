"""What it means when the calendar and the steady clock part."""

from __future__ import annotations

import pytest

from claude_relay.core.clock_step import (
    LONG_GAP,
    ClockReference,
    Clocks,
    as_memo,
    detect_step,
    from_memo,
    retention_cutoff,
)

HOUR, DAY = 3600.0, 86_400.0
START = 1_800_000_000.0


def at(wall: float, steady: float, boot: str = "a") -> Clocks:
    return Clocks(wall=wall, steady=steady, boot=boot)


def noted(*readings: Clocks) -> ClockReference:
    _, known = detect_step(None, readings[0])
    for reading in readings[1:]:
        _, known = detect_step(known, reading)
    return known


@pytest.mark.parametrize("moved", [2 * HOUR, -2 * HOUR, 6.0, -6.0, 50 * 365 * DAY])
def test_a_calendar_that_is_set_is_told_from_time_that_passes(moved: float) -> None:
    known = noted(at(START, 100.0), at(START + 10 * DAY, 100.0 + 10 * DAY))

    assert detect_step(known, at(START + 10 * DAY + moved + 1, 101.0 + 10 * DAY))[0] == pytest.approx(moved)


def test_small_corrections_are_taken_as_they_come() -> None:
    """A clock that is kept right by slewing is never set, however far that goes in a year."""
    known, wall = noted(at(START, 0.0)), START
    for day in range(365):
        wall += DAY + 4.0
        moved, known = detect_step(known, at(wall, (day + 1) * DAY))
        assert moved == 0.0


def test_a_clock_that_stands_still_adds_up() -> None:
    """Looked at every second, it is never far from what it was; it is not agreed to for that."""
    known, told = noted(at(START, 0.0)), 0.0
    for second in range(1, 21):
        moved, known = detect_step(known, at(START, float(second)))
        told += moved
    back, known = detect_step(known, at(START + 20, 20.0))

    assert told == pytest.approx(-18, abs=2)
    assert told + back == pytest.approx(0, abs=5)


def test_a_machine_that_was_off_was_off() -> None:
    assert detect_step(noted(at(START, 500.0)), at(START + 3 * DAY, 5.0, "b"))[0] == 0.0


def test_a_machine_that_starts_in_1970_has_its_clock_set_back_and_forth_again() -> None:
    """Without a battery: what is relative waits no longer than the time that is seen to pass."""
    known = noted(at(START, 500.0))
    back, known = detect_step(known, at(30.0, 5.0, "b"))
    forth, known = detect_step(known, at(START + HOUR, 65.0, "b"))

    assert back == pytest.approx(30.0 - START)
    assert back + forth == pytest.approx(HOUR - 60.0 + 30.0, abs=60)


def test_what_is_kept_is_kept_for_time_that_passes() -> None:
    """A leap ahead makes nothing older; what ended after it is not kept longer for that."""
    leapt = noted(at(START, 0.0), at(START + 10 * DAY, 0.0))
    now = START + 10 * DAY + 3600

    assert retention_cutoff(leapt, now=now, keep=DAY) == pytest.approx(START + HOUR - DAY)
    assert retention_cutoff(leapt, now=now + 2 * DAY, keep=DAY) == now + DAY
    assert retention_cutoff(None, now=now, keep=DAY) == now - DAY


def test_a_mistaken_leap_that_is_taken_back_leaves_no_trace() -> None:
    known = noted(at(START, 0.0), at(START + 10 * DAY, 0.0), at(START + 60, 60.0))

    assert known.leaps == ()
    assert retention_cutoff(known, now=START + 60, keep=DAY) == START + 60 - DAY


def test_a_long_gap_between_two_starts_is_not_taken_on_trust() -> None:
    """Two years off, or a clock that is wrong: nothing is erased before it has been kept for its time from here."""
    gap = LONG_GAP * 700
    known = noted(at(START, 500.0), at(START + gap, 5.0, "b"))

    assert retention_cutoff(known, now=START + gap + HOUR, keep=DAY) == pytest.approx(START + HOUR - DAY)


def test_what_is_noted_survives_the_store() -> None:
    known = noted(at(START, 0.0), at(START + 10 * DAY, 0.0))

    assert from_memo(as_memo(known)) == known
    assert from_memo(None) is None
