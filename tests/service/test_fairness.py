"""Fairness between keys (CASES S7): measured with 50 keys on a real store, with a manual clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from claude_relay.core.keys import Scope
from claude_relay.core.policy import Policy
from claude_relay.errors import QueueFull
from claude_relay.ports import Store
from claude_relay.services import Accepted, ClaimedJob, JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    relay = Relay(store, QuietNotifier(), Policy(max_queue=1000), rng=random.Random(1))
    yield relay
    relay.close()


def submit(relay: Relay, owner: str, count: int, **fields: Any) -> None:
    for first in range(0, count, 100):  # a transaction of PostgreSQL must not idle for long on a busy machine
        submissions = [a_submission(**fields) for _ in range(first, min(count, first + 100))]
        results = relay.submit_many(submissions, owner=owner)
        assert all(isinstance(result, Accepted) for result in results)


def end(relay: Relay, claimed: ClaimedJob) -> None:
    relay.execution.complete(claimed, a_completion())


def test_one_key_with_400_jobs_and_a_head_start_delays_none_of_49_others(relay: Relay, clock: Clock) -> None:
    """
    Each of the others has its three jobs started within three rounds.

    Eight slots, calls of a second: in the order of submission the others would wait for 50 s.
    """
    submit(relay, "greedy", 400, priority=86_400.0)
    clock.advance(1)
    others = [f"key-{number:02}" for number in range(49)]
    for owner in others:
        submit(relay, owner, 3)
    begun, starts = clock(), {owner: list[float]() for owner in [*others, "greedy"]}
    while any(len(starts[owner]) < 3 for owner in others):
        for claimed in relay.execution.claim("w", limit=8):
            starts[claimed.job.owner].append(clock() - begun)
            end(relay, claimed)
        clock.advance(1)
    last = [starts[owner][-1] for owner in others]

    assert max(starts[owner][0] for owner in others) <= 50 / 8
    assert max(last) <= 3 * 50 / 8 + 1
    assert max(last) - min(last) <= 50 / 8
    assert 2 <= len([start for start in starts["greedy"] if start < max(last)]) <= 4


def test_one_key_alone_has_every_slot_and_its_own_order(relay: Relay, clock: Clock) -> None:
    """Also while other keys exist; priorities hold within the key, across its groups and models."""
    relay.submit(a_submission("first"), owner="a")
    clock.advance(1)
    for number in range(12):
        relay.submit(a_submission(f"g{number:02}", group=f"group-{number}", priority=float(number)), owner="a")
    claimed = [item.job.request_id for item in relay.execution.claim("w", limit=99)]

    assert claimed == [*(f"g{number:02}" for number in range(11, 1, -1)), "first", "g01", "g00"]


def test_slots_follow_the_weights_of_keys(relay: Relay) -> None:
    """A key with weight 3 has three of four slots, and a change of the weight holds from the next claim on."""
    relay.keys.add("large", frozenset({Scope.SUBMIT}), weight=3.0)
    relay.keys.add("small", frozenset({Scope.SUBMIT}))
    for owner in ("small", "large"):
        submit(relay, owner, 100)
    first = relay.execution.claim("w", limit=40)
    for claimed in first:
        end(relay, claimed)
    relay.keys.set_weight("large", 1.0)
    second = relay.execution.claim("w", limit=40)

    assert Counter(item.job.owner for item in first) == {"large": 30, "small": 10}
    assert Counter(item.job.owner for item in second) == {"large": 20, "small": 20}


def test_a_group_divides_its_places_between_keys(relay: Relay) -> None:
    """The concurrency of a group holds; within it no key waits for the other's backlog."""
    relay.set_group("g", concurrency=4, rate=None)
    submit(relay, "a", 50, group="g")
    submit(relay, "b", 2, group="g")
    first = relay.execution.claim("w", limit=20)

    assert Counter(item.job.owner for item in first) == {"a": 2, "b": 2}
    for claimed in first:
        end(relay, claimed)
    assert Counter(item.job.owner for item in relay.execution.claim("w", limit=20)) == {"a": 4}


def test_a_full_queue_has_room_for_every_key_that_has_less_than_its_share(relay: Relay) -> None:
    """One key alone may fill it; the others get their shares all the same, and it no more until it is below its own."""
    submit(relay, "greedy", 1000)
    with pytest.raises(QueueFull, match="1000 of them of this key"):
        relay.submit(a_submission(), owner="greedy")
    for number in range(49):
        submit(relay, f"key-{number}", 20)
    with pytest.raises(QueueFull):
        relay.submit(a_submission(), owner="key-0")
    with pytest.raises(QueueFull):
        relay.submit(a_submission(), owner="greedy")


def test_the_place_in_the_queue_is_the_one_among_the_jobs_of_the_key(relay: Relay) -> None:
    """Jobs of other keys are neither counted nor revealed by it."""
    submit(relay, "a", 30)
    for name in ("b1", "b2"):
        relay.submit(a_submission(name), owner="b")
    relay.submit(a_submission("b0", priority=60.0, group="other"), owner="b")
    places = {name: relay.queries.status(JobRef(request_id=name, owner="b"))["position"] for name in ("b0", "b1", "b2")}

    assert places == {"b0": 1, "b1": 2, "b2": 3}


def test_a_claim_costs_the_same_with_a_long_queue_and_a_full_group(store: Store, relay: Relay) -> None:
    """Neither statements nor rows grow with the jobs that wait, also where most of them wait for their group."""
    relay.set_group("full", concurrency=1, rate=None)
    costs = []
    for backlog in (5, 250):
        submit(relay, "a", backlog, group="full")
        submit(relay, "b", backlog)
        rows: list[int] = []

        class Spy(type(store)):  # type: ignore[misc]
            def write(self, work, *, rows=rows, **options):  # type: ignore[no-untyped-def]
                def spied(tx):  # type: ignore[no-untyped-def]
                    run = tx._run
                    tx._run = lambda sql, args: rows.append(len(found := run(sql, args))) or found
                    return work(tx)

                return super().write(spied, **options)

        relay.execution.claim("w", limit=2)
        store.__class__, plain = Spy, store.__class__
        relay.execution.claim("w", limit=2)
        store.__class__ = plain
        costs.append((len(rows), sum(rows)))

    assert costs[0] == costs[1]
