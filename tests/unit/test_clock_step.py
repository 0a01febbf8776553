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
    was_set,
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


@pytest.mark.parametrize(("moved", "step"), [(5.0, False), (-5.0, False), (5.5, True), (-5.5, True)])
def test_five_seconds_are_a_correction_and_more_is_a_step(moved: float, step: bool) -> None:
    """In one boot; between two boots only backwards, as time has passed."""
    reference = reference_after(at(START, 0.0))
    later = at(START + HOUR + moved, HOUR)
    assert was_set(reference, later) is step
    assert detect_step(reference, later)[0] == (moved if step else 0.0)
    assert detect_step(reference, at(START + moved, 0.0, "b"))[0] == (moved if step and moved < 0 else 0.0)


def test_a_day_between_two_boots_leaves_no_leap_and_more_does() -> None:
    """The time of a shorter one has passed; of a longer one nobody knows."""
    for gap, leaps in ((HOUR, ()), (LONG_GAP, ()), (LONG_GAP + 1, ((START + LONG_GAP + 1, LONG_GAP + 1),))):
        assert reference_after(at(START, 500.0), at(START + gap, 5.0, "b")).leaps == leaps


def test_what_is_taken_back_comes_off_the_latest_leaps() -> None:
    """A part of one stays with its rest, unless that is no more than a correction; all move with the clock."""
    leapt = reference_after(at(START, 0.0), at(START + 10 * DAY, 0.0), at(START + 12 * DAY, 0.0))
    assert leapt.leaps == ((START + 10 * DAY, 10 * DAY), (START + 12 * DAY, 2 * DAY))

    for back, left in (
        (DAY, ((START + 9 * DAY, 10 * DAY), (START + 11 * DAY, DAY))),
        (2 * DAY - 5, ((START + 8 * DAY + 5, 10 * DAY),)),
        (2 * DAY - 6, ((START + 8 * DAY + 6, 10 * DAY), (START + 10 * DAY + 6, 6.0))),
        (2 * DAY, ((START + 8 * DAY, 10 * DAY),)),
        (5 * DAY, ((START + 5 * DAY, 7 * DAY),)),
        (20 * DAY, ()),
    ):
        assert detect_step(leapt, at(START + 12 * DAY - back, 0.0))[1].leaps == left


def test_the_last_fifty_leaps_are_kept() -> None:
    """A clock that is set without end does not fill the store."""
    reference = reference_after(*(at(START + HOUR * step, 0.0) for step in range(53)))

    assert len(reference.leaps) == 50 and reference.leaps[0] == (START + 3 * HOUR, HOUR)


def test_a_leap_at_the_time_of_the_cutoff_has_passed() -> None:
    """Each later one adds the time that it skipped."""
    two = ClockReference(boot="a", offset=0.0, wall=START, steady=0.0, leaps=((START, HOUR), (START + DAY, 2 * HOUR)))
    now = START + 2 * DAY

    assert retention_cutoff(two, now=now, keep=2 * DAY) == START - 3 * HOUR
    assert retention_cutoff(two, now=now, keep=DAY) == START + DAY
    assert retention_cutoff(two, now=now, keep=DAY + HOUR) == START + DAY - HOUR - 2 * HOUR


def test_a_reference_without_its_steady_clock_or_leaps_is_read() -> None:
    """As an earlier version wrote it."""
    assert from_memo({"boot": "a", "offset": 40.0, "wall": 50.0}) == ClockReference(
        boot="a", offset=40.0, wall=50.0, steady=10.0
    )
