"""Admission: a full queue refuses jobs until it has room again, and is counted once a second."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from claude_relay.core.policy import Policy
from claude_relay.errors import QueueFull, StoreUnavailable
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.admission import Admission
from tests.support.builders import Clock, QuietNotifier, a_submission


class CountingStore:
    """Counts the read transactions of a store."""

    def __init__(self, store: Store) -> None:
        self.reads = 0
        self._store = store

    def read(self, work: Callable[..., Any]) -> Any:
        self.reads += 1
        return self._store.read(work)


def submit(relay: Relay, owner: str, *names: str) -> None:
    for name in names:
        relay.submit(a_submission(name, webhook_url=None), owner=owner)


def cancel(relay: Relay, owner: str, *names: str) -> None:
    for name in names:
        relay.cancel(JobRef(request_id=name, owner=owner))


@pytest.fixture
def counting(store: Store) -> CountingStore:
    return CountingStore(store)


@pytest.fixture
def seconds() -> Clock:
    return Clock(0.0)


@pytest.fixture
def admission(counting: CountingStore, seconds: Clock) -> Admission:
    return Admission(counting, Policy(max_queue=4), clock=seconds)  # type: ignore[arg-type]


def test_a_full_queue_that_drains_takes_jobs_again(relay: Relay, admission: Admission, seconds: Clock) -> None:
    """CASES M2: also of a key that has its whole share, as long as the queue as a whole has room."""
    submit(relay, "a", "a1", "a2", "a3")
    submit(relay, "b", "b1")
    assert isinstance(admission.refusal(1, "a"), QueueFull)
    cancel(relay, "a", "a3")
    assert isinstance(admission.refusal(1, "a"), QueueFull)

    seconds.advance(1.0)
    assert admission.refusal(1, "a") is None
    assert isinstance(admission.refusal(1, "a"), QueueFull)


def test_a_refusal_says_whose_share_is_full_and_when_to_come_back(relay: Relay, admission: Admission) -> None:
    """A list of requests is refused as a whole, where one alone would be taken."""
    submit(relay, "a", "a1", "a2", "a3")
    refused = admission.refusal(3, "a")

    assert isinstance(refused, QueueFull) and refused.retry_after == 30
    assert str(refused).startswith("the queue has no room for 3 more jobs: 3 jobs wait (RELAY_MAX_QUEUE 4), 3 of them")
    assert admission.refusal(1, "a") is None
    assert str(admission.refusal(1, "a")).startswith("the queue is full: 4 jobs wait")


def test_a_queue_takes_as_many_jobs_as_have_ended_for_ever(relay: Relay, admission: Admission, seconds: Clock) -> None:
    """CASES M2: what was taken before is not counted twice, however often the queue fills and drains."""
    submit(relay, "b", "b1")
    for turn in range(5):
        names = [f"a{turn}{number}" for number in range(3)]
        for name in names:
            assert admission.refusal(1, "a") is None
            submit(relay, "a", name)
        assert isinstance(admission.refusal(1, "a"), QueueFull)
        cancel(relay, "a", *names)
        seconds.advance(1.0)


def test_a_key_below_its_share_again_is_taken_by_a_full_queue(
    relay: Relay, admission: Admission, seconds: Clock
) -> None:
    """CASES M2: the shares are counted again, too."""
    submit(relay, "a", "a1", "a2", "a3")
    submit(relay, "b", "b1")
    assert isinstance(admission.refusal(1, "a"), QueueFull)
    cancel(relay, "a", "a2", "a3")
    submit(relay, "b", "b2", "b3")

    seconds.advance(1.0)
    assert isinstance(admission.refusal(1, "b"), QueueFull)
    assert admission.refusal(1, "a") is None
    assert isinstance(admission.refusal(1, "a"), QueueFull)


def test_refusals_of_one_second_share_one_count(
    relay: Relay, counting: CountingStore, admission: Admission, seconds: Clock
) -> None:
    """CASES M2: a client that tries again all the time costs two queries a second: the length, and the shares."""
    submit(relay, "a", "a1", "a2", "a3", "a4")
    for _ in range(3):
        before = counting.reads
        assert all(isinstance(admission.refusal(1, "a"), QueueFull) for _ in range(10))
        assert counting.reads - before == 2
        seconds.advance(1.0)


def test_a_full_disk_refuses_for_a_minute(store: Store) -> None:
    """No queue is counted for it."""
    counting = CountingStore(store)
    admission = Admission(counting, Policy(), disk_problem=lambda: "is full")  # type: ignore[arg-type]
    refusal = admission.refusal(1, "admin")

    assert isinstance(refusal, StoreUnavailable) and refusal.retry_after == 60
    assert "The disk is full" in str(refusal) and counting.reads == 0


def test_a_prepared_job_takes_one_place_of_the_queue(store: Store) -> None:
    """As one that is submitted; without a place it is left to `submit`, which says why it is refused."""
    relay = Relay(store, QuietNotifier(), Policy(max_queue=2), rng=random.Random(1))
    submit(relay, "admin", "first")
    assert relay.prepare_submit(a_submission(), owner="admin", now=1.0) is not None
    submit(relay, "admin", "second")
    assert relay.prepare_submit(a_submission(), owner="admin", now=1.0) is None
    continued = a_submission(request={"prompt": "Hei", "continueFrom": "r"})
    assert relay.prepare_submit(continued, owner="admin", now=1.0) is None
