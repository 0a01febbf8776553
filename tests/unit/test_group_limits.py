"""The rules by which a group's own limits count as holding its jobs up."""

from __future__ import annotations

import pytest

from claude_relay.core.group_limits import backs_up, is_full


@pytest.mark.parametrize(
    ("concurrency", "running", "waiting", "expected"),
    [(2, 2, 1, True), (2, 3, 1, True), (2, 1, 1, False), (2, 2, 0, False), (None, 9, 9, False)],
)
def test_a_group_is_full_while_jobs_wait_for_its_limit_of_calls(
    concurrency: int | None, running: int, waiting: int, expected: bool
) -> None:
    assert is_full(concurrency, running=running, waiting=waiting) is expected


@pytest.mark.parametrize(
    ("waiting", "waited", "expected"), [(19, 60.0, False), (19, 60.1, True), (20, 0.0, True), (0, 99.0, False)]
)
def test_a_full_group_backs_up_after_a_minute_or_with_ten_rounds_waiting(
    waiting: int, waited: float, expected: bool
) -> None:
    assert backs_up(2, None, running=2, waiting=waiting, waited=waited) is expected


@pytest.mark.parametrize(("waiting", "expected"), [(30, False), (31, True)])
def test_a_rate_backs_up_with_more_than_ten_minutes_of_starts_waiting(waiting: int, expected: bool) -> None:
    """Also where the group has a limit of calls that is not reached."""
    assert backs_up(None, 3.0, running=0, waiting=waiting, waited=0.0) is expected
    assert backs_up(50, 3.0, running=0, waiting=waiting, waited=0.0) is expected
