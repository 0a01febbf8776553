"""Detection of wall-clock steps."""

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


def reference_after(*readings: Clocks) -> ClockReference:
    _, reference = detect_step(None, readings[0])
    for reading in readings[1:]:
        _, reference = detect_step(reference, reading)
    return reference


@pytest.mark.parametrize("moved", [2 * HOUR, -2 * HOUR, 6.0, -6.0, 50 * 365 * DAY])
def test_a_step_is_distinguished_from_elapsed_time(moved: float) -> None:
    reference = reference_after(at(START, 100.0), at(START + 10 * DAY, 100.0 + 10 * DAY))

    assert detect_step(reference, at(START + 10 * DAY + moved + 1, 101.0 + 10 * DAY))[0] == pytest.approx(moved)


def test_small_corrections_are_accepted() -> None:
    """Slewing is never a step, however large it is over a year."""
    reference, wall = reference_after(at(START, 0.0)), START
    for day in range(365):
        wall += DAY + 4.0
        moved, reference = detect_step(reference, at(wall, (day + 1) * DAY))
        assert moved == 0.0


def test_the_steps_of_a_stopped_clock_add_up() -> None:
    """Each check sees only a small difference; these are not accepted, so they add up."""
    reference, total_moved = reference_after(at(START, 0.0)), 0.0
    for second in range(1, 21):
        moved, reference = detect_step(reference, at(START, float(second)))
        total_moved += moved
    back, reference = detect_step(reference, at(START + 20, 20.0))

    assert total_moved == pytest.approx(-18, abs=2)
    assert total_moved + back == pytest.approx(0, abs=5)


def test_time_while_the_machine_is_off_is_no_step() -> None:
    assert detect_step(reference_after(at(START, 500.0)), at(START + 3 * DAY, 5.0, "b"))[0] == 0.0


def test_a_boot_in_1970_is_a_step_back_and_forth() -> None:
    """Without a battery, relative times depend only on observed time."""
    reference = reference_after(at(START, 500.0))
    back, reference = detect_step(reference, at(30.0, 5.0, "b"))
    forth, reference = detect_step(reference, at(START + HOUR, 65.0, "b"))

    assert back == pytest.approx(30.0 - START)
    assert back + forth == pytest.approx(HOUR - 60.0 + 30.0, abs=60)


def test_retention_counts_elapsed_time() -> None:
    """A leap makes nothing older; jobs that ended after it are not kept longer."""
    leapt = reference_after(at(START, 0.0), at(START + 10 * DAY, 0.0))
    now = START + 10 * DAY + 3600

    assert retention_cutoff(leapt, now=now, keep=DAY) == pytest.approx(START + HOUR - DAY)
    assert retention_cutoff(leapt, now=now + 2 * DAY, keep=DAY) == now + DAY
    assert retention_cutoff(None, now=now, keep=DAY) == now - DAY


def test_a_leap_that_is_taken_back_leaves_no_trace() -> None:
    reference = reference_after(at(START, 0.0), at(START + 10 * DAY, 0.0), at(START + 60, 60.0))

    assert reference.leaps == ()
    assert retention_cutoff(reference, now=START + 60, keep=DAY) == START + 60 - DAY


def test_a_long_gap_between_boots_is_a_leap() -> None:
    """Two years off, or a wrong clock: nothing is erased before it has been kept for its time from here."""
    gap = LONG_GAP * 700
    reference = reference_after(at(START, 500.0), at(START + gap, 5.0, "b"))

    assert retention_cutoff(reference, now=START + gap + HOUR, keep=DAY) == pytest.approx(START + HOUR - DAY)


def test_a_reference_survives_the_store() -> None:
    reference = reference_after(at(START, 0.0), at(START + 10 * DAY, 0.0))

    assert from_memo(as_memo(reference)) == reference
    assert from_memo(None) is None
