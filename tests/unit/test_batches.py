"""The rules of batches: the lane of a job, and when a batch is sent and polled."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from claude_relay.core.batches import Batch, BatchState, choose_lane, custom_id, is_ready, next_poll_at
from claude_relay.core.policy import Policy

NOW = 1_800_000_000.0
POLICY = Policy(batch_margin=600.0, batch_poll=(5.0, 60.0))
BATCH = Batch(id="b", state=BatchState.CREATED, version=1, planned_at=NOW, count=1, next_at=NOW, upstream_id="u")


def the_road(mode: str, need_by: float | None = None, deadline: float | None = None) -> tuple[str, float | None]:
    at = [None if span is None else NOW + span for span in (need_by, deadline)]
    return choose_lane(mode, need_by=at[0], deadline_at=at[1], now=NOW, policy=POLICY)


@pytest.mark.parametrize(
    ("mode", "need_by", "lane"),
    [
        ("live", None, "live"),
        ("live", 7200, "live"),
        ("batch", None, "batch"),
        ("batch", 1, "batch"),
        ("auto", None, "batch"),
        ("auto", 7200, "batch"),
        ("auto", 1350, "batch"),
        ("auto", 1349, "live"),
        ("auto", 1, "live"),
    ],
)
def test_the_lane_of_each_mode(mode: str, need_by: float | None, lane: str) -> None:
    """`auto` is a batch where it has at least the margin, before the margin and its grace begin."""
    assert the_road(mode, need_by)[0] == lane


def test_a_deadline_counts_as_a_time_to_be_ready_by() -> None:
    assert the_road("auto", 7200, 60) == ("live", None)
    assert the_road("auto", None, 7200) == ("batch", NOW + 7200 - 750)


def test_a_batch_leaves_when_it_is_full_or_has_lingered() -> None:
    def told(count: int, since: float) -> bool:
        return is_ready(count, 50, waiting_since=since, now=NOW, linger=15)

    assert not told(49, NOW - 14)
    assert told(50, NOW)
    assert told(1, NOW - 15)


def test_polls_become_less_frequent() -> None:
    spans = [next_poll_at(replace(BATCH, looks=looks), now=NOW, policy=POLICY) - NOW for looks in range(40)]

    assert spans[0] == 5 and spans[-1] == 60
    assert spans == sorted(spans)
    assert all(later <= 1.5 * earlier for earlier, later in itertools.pairwise(spans))
    assert next_poll_at(replace(BATCH, looks=100_000), now=NOW, policy=POLICY) == NOW + 60


def test_a_batch_is_polled_when_it_is_to_be_given_up() -> None:
    assert next_poll_at(replace(BATCH, looks=20, give_up_at=NOW + 7), now=NOW, policy=POLICY) == NOW + 7
    assert next_poll_at(replace(BATCH, looks=20, cancelled_at=NOW), now=NOW, policy=POLICY) == NOW + 5
    assert next_poll_at(replace(BATCH, give_up_at=NOW), now=NOW, policy=POLICY) == NOW + 5  # never at once again


def test_an_items_name_fits_upstream() -> None:
    """`^[a-zA-Z0-9_-]{1,64}$`, and unique to each attempt."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", custom_id("01KB3N2Q5R8S9T0V1W2X3Y4Z5A", 10**9))
    assert custom_id("j", 1) != custom_id("j", 2)
