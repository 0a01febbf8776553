"""Fair queueing between keys: whose job starts next, and the shares of a full queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from claude_relay.core.jobs.fairness import FairQueue, Flow, WaitingFlow, count_by, queue_share


def waiting(*shares: str, rank: float = 0.0) -> Sequence[WaitingFlow]:
    """A flow of each of those shares, such as `a` (single jobs) and `a/table` (a collection)."""
    return [
        WaitingFlow(flow=Flow(owner, collection, "default", "sonnet"), rank=rank + number)
        for number, (owner, _, collection) in enumerate(share.partition("/") for share in shares)
    ]


def starts(flows: Sequence[WaitingFlow], count: int, *, slots: int = 1, **weights: float) -> Counter[str]:
    """The starts of each share where each call ends before the next claim."""
    tags: Mapping[str, float] = {}
    total: Counter[str] = Counter()
    for _ in range(count):
        queue = FairQueue(tags, weights=weights, running={}, slots=slots)
        [share] = queue.turns(flows, 1)
        queue.count_start(share)
        tags = {**tags, **queue.changed}
        total[share] += 1

    return total


def test_a_flow_is_read_as_it_was_stored() -> None:
    """A model's name may hold slashes; the other parts may not."""
    flow = Flow("make", "", "default", "vendor/model/x")

    assert Flow.parse(str(flow)) == flow
    assert flow.share == "make/"
    assert Flow("make", "table-1", "g", "opus").share == "make/table-1"


def test_a_key_that_waits_alone_gets_every_start_and_stores_nothing() -> None:
    queue = FairQueue({}, weights={}, running={"a": 60}, slots=64)
    queue.count_start(queue.turns(waiting("a"), 3)[0])

    assert queue.turns(waiting("a"), 3) == ["a/"] * 3
    assert queue.changed == {}


def test_starts_follow_the_weights_of_the_keys() -> None:
    assert starts(waiting("a", "b", "c"), 400, b=2.0) == {"a/": 100, "b/": 200, "c/": 100}


def test_a_collection_and_the_single_jobs_of_its_key_share_what_the_key_gets() -> None:
    """A key with three collections gets no more than a key without one."""
    total = starts(waiting("a", "a/t1", "a/t2", "a/t3", "b"), 80)

    assert total == {"a/": 10, "a/t1": 10, "a/t2": 10, "a/t3": 10, "b/": 40}


def test_time_without_jobs_is_not_saved_up() -> None:
    """A key that comes back after an hour of others gets its share, not the hour."""
    queue = FairQueue({"": 500.0, "a/": 501.0, "b/": 3.0}, weights={}, running={}, slots=1)

    assert Counter(queue.turns(waiting("a", "b"), 20)) == {"a/": 10, "b/": 10}


def test_running_calls_count_so_that_long_calls_take_no_more_slots() -> None:
    """A key whose calls last ten minutes has half of the slots, as a key with calls of a second."""
    queue = FairQueue({}, weights={}, running={"long": 30}, slots=64)

    assert Counter(queue.turns(waiting("long", "short"), 34)) == {"long/": 2, "short/": 32}


def test_a_flow_of_a_blocked_part_leaves_its_turns_to_others() -> None:
    """A key over its part of the slots still gets those that no other key can use."""
    queue = FairQueue({}, weights={}, running={"a": 64}, slots=65)

    assert queue.turns(waiting("a"), 1) == ["a/"]


@pytest.mark.parametrize(
    ("waiting_by_owner", "weights", "share"),
    [
        ({}, {}, 1000),
        ({"a": 1000}, {}, 1000),
        ({"a": 900, "b": 100}, {}, 500),
        ({"b": 1000}, {}, 500),
        ({"b": 1000}, {"a": 3.0}, 750),
        ({str(n): 5 for n in range(2000)}, {}, 1),
    ],
)
def test_the_share_of_a_full_queue(waiting_by_owner: dict[str, int], weights: dict[str, float], share: int) -> None:
    assert queue_share(1000, "a", waiting_by_owner, weights) == share


def test_counts_are_summed_by_a_part_of_the_flow() -> None:
    counts = {Flow("a", "", "g", "opus"): 2, Flow("b", "", "g", "opus"): 3, Flow("b", "", "h", "opus"): 4}

    assert count_by("group", counts) == {"g": 5, "h": 4}
    assert count_by("owner", counts) == {"a": 2, "b": 7}


def test_a_key_is_over_its_part_only_once_its_calls_fill_it() -> None:
    """One slot for two keys: each has half of it, so one without a call is below its part."""
    queue = FairQueue({"a/": -5.0, "b/": -5.0}, weights={}, running={}, slots=1)
    assert queue.turns(waiting("a", "b"), 2) == ["a/", "b/"]

    queue = FairQueue({"": -9.0, "a/": -2.0, "b/": -5.0}, weights={}, running={"b": 1}, slots=1)
    assert queue.turns(waiting("a", "b"), 1) == ["a/"]


def test_a_key_without_a_tag_starts_at_the_present_virtual_time() -> None:
    """Of two that begin to wait, the one whose job is first in rank starts first, and both before a later tag."""
    queue = FairQueue({"c/": 0.5}, weights={}, running={}, slots=9)

    assert queue.turns(waiting("c", "a", "b"), 3) == ["a/", "b/", "c/"]
