"""What a failed attempt means for the queue: throttled families, a parked queue, and the sums of the ledger."""

from __future__ import annotations

import pytest

from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.jobs.holds import PARK, UNREACHABLE, HoldScope, QueueHold
from claude_relay.ports import Store
from claude_relay.services import Relay
from claude_relay.services.types import ClaimedJob
from tests.support.builders import Clock, a_completion, a_failure, a_submission

SONNET = HoldScope.family("sonnet")


def hold(store: Store, scope: HoldScope) -> QueueHold | None:
    return store.read(lambda tx: {each.scope: each for each in tx.holds()}.get(scope))


def claim(relay: Relay, *names: str) -> list[ClaimedJob]:
    for name in names:
        relay.submit(a_submission(name))

    return list(relay.execution.claim("w", limit=9))


def seconds(store: Store, scope: HoldScope, clock: Clock) -> float | None:
    """How long a hold lasts from now; None where there is none."""
    row = hold(store, scope)
    return None if row is None or row.until is None else round(row.until - clock(), 3)


@pytest.mark.parametrize(
    ("retry_after", "pause", "held"),
    [(30.0, None, 30.0), (30.0, 5.0, 30.0), (None, 5.0, 5.0), (None, 0.2, 1.0), (0.0, None, None)],
)
def test_a_throttled_family_is_held_for_the_time_that_upstream_or_the_worker_names(
    relay: Relay, store: Store, clock: Clock, retry_after: float | None, pause: float | None, held: float | None
) -> None:
    """Upstream's word counts first, then the worker's, of which other workers notice a second at least."""
    [claimed] = claim(relay, "a")
    relay.execution.fail(
        claimed, a_failure(ErrorType.RATE_LIMIT, Remedy.THROTTLE, retry_after=retry_after), pause=pause
    )

    assert seconds(store, SONNET, clock) == held


def test_a_throttle_of_which_nobody_names_a_time_lasts_as_long_as_the_job_waits(
    relay: Relay, store: Store, clock: Clock
) -> None:
    [claimed] = claim(relay, "a")
    job = relay.execution.fail(claimed, a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE))

    assert seconds(store, SONNET, clock) == round(job.due_at - clock(), 3)


@pytest.mark.parametrize(("gap", "same"), [(119.0, True), (121.0, False)])
def test_throttles_that_follow_within_two_minutes_are_one(
    relay: Relay, store: Store, clock: Clock, gap: float, same: bool
) -> None:
    """Its beginning decides when a job falls back to another model."""
    [claimed] = claim(relay, "a")
    began = clock()
    relay.execution.fail(claimed, a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE, retry_after=10.0))
    clock.advance(10.0 + gap)
    [claimed] = claim(relay)
    relay.execution.fail(claimed, a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE, retry_after=10.0))

    row = hold(store, SONNET)
    assert row is not None and (row.since == began) is same


@pytest.mark.parametrize(
    ("retry_after", "held"), [(None, 300.0), (10.0, 300.0), (1_000.0, 1_000.0), (20 * 86_400.0, 3_600.0)]
)
def test_a_parked_queue_is_probed_between_five_minutes_and_an_hour_later(
    relay: Relay, store: Store, clock: Clock, retry_after: float | None, held: float
) -> None:
    """As upstream names it; a second refusal meanwhile does not make the park look younger."""
    first, second = claim(relay, "a", "b")
    began = clock()
    failure = a_failure(ErrorType.BUDGET, Remedy.PARK, retry_after=retry_after)
    relay.execution.fail(first, failure)
    assert seconds(store, PARK, clock) == held
    clock.advance(1)
    relay.execution.fail(second, failure)

    row = hold(store, PARK)
    assert row is not None and (row.since, row.until, row.detail) == (began, clock() + held, failure.message)


def test_only_a_call_that_began_after_the_park_ends_it(relay: Relay, store: Store, clock: Clock) -> None:
    """Also one that fails, where its failure proves that the key works."""
    refused, older = claim(relay, "a", "b")
    relay.execution.fail(refused, a_failure(ErrorType.PERMISSION, Remedy.PARK))
    relay.execution.fail(older, a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL))
    assert hold(store, PARK) is not None
    clock.advance(301)
    [probe] = claim(relay)
    relay.execution.fail(probe, a_failure(ErrorType.UPSTREAM))
    assert hold(store, PARK) is not None
    clock.advance(301)
    [probe] = claim(relay)
    relay.execution.fail(probe, a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL))

    assert hold(store, PARK) is None


def test_a_lost_connection_holds_the_queue_and_the_next_call_that_is_sent_ends_it(
    relay: Relay, store: Store, clock: Clock
) -> None:
    first, second = claim(relay, "a", "b")
    relay.execution.fail(first, a_failure(ErrorType.UPSTREAM, reason="http_500"))
    assert hold(store, UNREACHABLE) is None
    relay.execution.fail(second, a_failure(ErrorType.UPSTREAM, reason="connect", sent=False))
    assert hold(store, UNREACHABLE) is not None
    clock.advance(60)
    [probe] = claim(relay)
    relay.execution.sending(probe)

    assert hold(store, UNREACHABLE) is None


def test_the_cost_of_an_attempt_is_in_the_sums_once_and_a_released_one_is_not(relay: Relay) -> None:
    """A day's report has the failed attempt and the answer."""
    failed, released, done = claim(relay, "a", "b", "c")
    relay.execution.fail(failed, a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL, cost_usd=0.25))
    relay.execution.release(released)
    relay.execution.complete(done, a_completion(cost_usd=0.5))

    [day] = relay.queries.cost(by="day")["rows"]
    assert (day["calls"], day["costUsd"]) == (2, 0.75)
