"""Outages of the connection: one job at a time probes, and the others keep their attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import ClaimedJob, JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

DOWN = a_failure(sent=False, reason="connect")


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))
    yield relay
    relay.close()


def claim(relay: Relay) -> list[ClaimedJob]:
    return list(relay.execution.claim("w", limit=9))


def test_an_outage_of_minutes_fails_few_of_many(relay: Relay, clock: Clock) -> None:
    """Ten minutes, a hundred jobs: without the circuit breaker all of them would have failed within seconds."""
    relay.submit_many([a_submission(f"r-{number}") for number in range(100)])
    tries = 0
    for _ in range(600):
        for one in claim(relay):
            relay.execution.fail(one, DOWN)
            tries += 1
        clock.advance(1)
    states = relay.queries.overview()["jobs"]

    assert tries < 40
    assert states["failed"] == 0 and states["queued"] == 100


def test_once_the_line_is_up_all_go_on_at_once(relay: Relay, clock: Clock) -> None:
    """With the first connection, not with the first answer, which may take half an hour."""
    relay.submit_many([a_submission(f"r-{number}") for number in range(5)])
    [first, *rest] = claim(relay)
    for one in rest:
        relay.execution.release(one)
    relay.execution.fail(first, DOWN)
    assert claim(relay) == []
    assert str(relay.queries.status(JobRef(request_id="r-4"))["waitingFor"]).startswith("unreachable until ")
    clock.advance(2)
    [probe] = claim(relay)
    assert claim(relay) == []
    relay.execution.sending(probe)

    assert len(claim(relay)) == 4
    relay.execution.complete(probe, a_completion())


def test_a_look_that_comes_to_nothing_is_repeated(relay: Relay, clock: Clock) -> None:
    relay.submit_many([a_submission("a"), a_submission("b")])
    [a, b] = claim(relay)
    relay.execution.release(b)
    relay.execution.fail(a, DOWN)
    clock.advance(2)
    assert len(claim(relay)) == 1  # and nothing is heard of it
    assert claim(relay) == []
    clock.advance(16)

    assert len(claim(relay)) == 1


def test_a_resume_does_not_wait_for_the_next_probe(relay: Relay, clock: Clock) -> None:
    relay.submit_many([a_submission("a"), a_submission("b"), a_submission("c")])
    [a, b, c] = claim(relay)
    relay.execution.release(b)
    relay.execution.release(c)
    relay.execution.fail(a, DOWN)
    relay.resume()

    assert [one.job.request_id for one in claim(relay)] == ["b", "c"]


def test_a_failure_that_was_answered_holds_up_nobody(relay: Relay) -> None:
    relay.submit_many([a_submission("a"), a_submission("b")])
    [a, b] = claim(relay)
    relay.execution.release(b)
    relay.execution.fail(a, a_failure(reason="http_500"))

    assert [one.job.request_id for one in claim(relay)] == ["b"]
