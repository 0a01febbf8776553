"""Stale leases, by the monotonic clock of the observer alone."""

from __future__ import annotations

from collections.abc import Hashable

from claude_relay.worker.stale_leases import StaleLeaseDetector


class Monotonic:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_that_is_renewed_is_never_stale() -> None:
    clock = Monotonic()
    detector = StaleLeaseDetector(60.0, clock=clock)
    for step in range(20):
        assert detector.stale([("t", float(step))]) == set()
        clock.now += 15


def check_for(
    detector: StaleLeaseDetector, clock: Monotonic, seconds: float, *leases: tuple[str, float]
) -> set[Hashable]:
    """Check every two seconds; returns the last result."""
    stale: set[Hashable] = set()
    for _ in range(int(seconds / 2)):
        clock.now += 2
        stale = detector.stale(leases)

    return stale


def test_a_lease_that_is_not_renewed_for_its_length_is_stale() -> None:
    clock = Monotonic()
    detector = StaleLeaseDetector(60.0, clock=clock)
    for _ in range(4):
        assert detector.stale([("t", 5.0)]) == set()
        clock.now += 19.9
    clock.now += 0.4
    assert detector.stale([("t", 5.0)]) == {"t"}


def test_time_without_checks_does_not_count() -> None:
    """The store was unavailable: a living worker could not renew either, and may have an answer to store."""
    clock = Monotonic()
    detector = StaleLeaseDetector(60.0, clock=clock)
    detector.stale([("t", 5.0)])
    clock.now += 600
    assert detector.stale([("t", 5.0)]) == set()
    for _ in range(3):
        clock.now += 20
        stale = detector.stale([("t", 5.0)])
    assert stale == {"t"}


def test_time_in_which_the_observer_was_frozen_does_not_count() -> None:
    """The whole machine may have been paused, and a living worker renews within a quarter of a lease."""
    clock = Monotonic()
    detector = StaleLeaseDetector(60.0, clock=clock)
    detector.stale([("t", 5.0)])
    check_for(detector, clock, 14, ("t", 5.0))
    clock.now += 3600

    assert detector.stale([("t", 5.0)]) == set()
    assert check_for(detector, clock, 16, ("t", 5.0)) == set()


def test_observations_are_discarded_while_the_store_is_unwritable() -> None:
    """A lease that was not renewed meanwhile is watched for another lease."""
    clock = Monotonic()
    detector = StaleLeaseDetector(60.0, clock=clock)
    detector.stale([("t", 5.0)])
    assert not detector.doubtful
    check_for(detector, clock, 30, ("t", 5.0))
    assert detector.doubtful  # time to test whether the store can be written
    detector.start_over()

    assert not detector.doubtful
    assert check_for(detector, clock, 58, ("t", 5.0)) == set()


def test_a_clock_that_jumps_takes_no_lease() -> None:
    """Hours ahead, or long past: an expiry is compared with its previous value only."""
    clock = Monotonic()
    detector = StaleLeaseDetector(60.0, clock=clock)
    for expires_at in (1e9, 1e9 + 15, 1e9 - 3600, 1e9 + 86400, 0.0):
        assert detector.stale([("t", expires_at)]) == set()
        clock.now += 30


def test_a_new_observer_waits_a_whole_lease() -> None:
    """An old expiry alone proves nothing to a process that has just started."""
    assert StaleLeaseDetector(60.0, clock=Monotonic()).stale([("t", 0.0)]) == set()
