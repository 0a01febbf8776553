"""Whose lease is stale: judged by our own clock, and by no other."""

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
    watch = StaleLeaseDetector(60.0, clock=clock)
    for step in range(20):
        assert watch.stale([("t", float(step))]) == set()
        clock.now += 15


def looks(watch: StaleLeaseDetector, clock: Monotonic, seconds: float, *leases: tuple[str, float]) -> set[Hashable]:
    """What it says last, when it looks every two seconds."""
    said: set[Hashable] = set()
    for _ in range(int(seconds / 2)):
        clock.now += 2
        said = watch.stale(leases)

    return said


def test_a_lease_that_stands_still_for_its_length_is_stale() -> None:
    clock = Monotonic()
    watch = StaleLeaseDetector(60.0, clock=clock)
    for _ in range(4):
        assert watch.stale([("t", 5.0)]) == set()
        clock.now += 19.9
    clock.now += 0.4
    assert watch.stale([("t", 5.0)]) == {"t"}


def test_time_in_which_nobody_could_look_proves_nothing() -> None:
    """The store was away: then a worker that lives could not renew either, and has an answer in hand."""
    clock = Monotonic()
    watch = StaleLeaseDetector(60.0, clock=clock)
    watch.stale([("t", 5.0)])
    clock.now += 600
    assert watch.stale([("t", 5.0)]) == set()
    for _ in range(3):
        clock.now += 20
        stale = watch.stale([("t", 5.0)])
    assert stale == {"t"}


def test_who_was_frozen_itself_has_not_watched_meanwhile() -> None:
    """The whole machine may have stood still, and whoever lives renews within a quarter of a lease."""
    clock = Monotonic()
    watch = StaleLeaseDetector(60.0, clock=clock)
    watch.stale([("t", 5.0)])
    looks(watch, clock, 14, ("t", 5.0))
    clock.now += 3600

    assert watch.stale([("t", 5.0)]) == set()
    assert looks(watch, clock, 16, ("t", 5.0)) == set()


def test_while_nobody_can_write_nobody_can_renew() -> None:
    """What stood still meanwhile is watched for another lease from then on."""
    clock = Monotonic()
    watch = StaleLeaseDetector(60.0, clock=clock)
    watch.stale([("t", 5.0)])
    assert not watch.doubtful
    looks(watch, clock, 30, ("t", 5.0))
    assert watch.doubtful  # time to find out whether it can be written
    watch.start_over()

    assert not watch.doubtful
    assert looks(watch, clock, 58, ("t", 5.0)) == set()


def test_a_clock_that_jumps_takes_no_lease() -> None:
    """Hours ahead, or long past: what the row says of the time is compared with itself alone."""
    clock = Monotonic()
    watch = StaleLeaseDetector(60.0, clock=clock)
    for expires_at in (1e9, 1e9 + 15, 1e9 - 3600, 1e9 + 86400, 0.0):
        assert watch.stale([("t", expires_at)]) == set()
        clock.now += 30


def test_one_who_has_just_begun_to_look_waits_a_whole_lease() -> None:
    """An old expiry alone proves nothing to a process that started this moment."""
    assert StaleLeaseDetector(60.0, clock=Monotonic()).stale([("t", 0.0)]) == set()
