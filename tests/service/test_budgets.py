"""Daily budgets: they hold back the jobs of one key, bound concurrent calls, and stop default deadlines."""

from __future__ import annotations

import random
from typing import Any

import pytest

from claude_relay.config import load_prices
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.keys import Scope
from claude_relay.core.policy import DAY, Policy
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission
from tests.support.collections import create

#: A thousand tokens of Sonnet's answer cost a cent, and its prompt next to nothing.
CENT = {"prompt": "Hei", "options": {"model": "claude-sonnet-5-5", "maxTokens": 1000}}


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0 // DAY * DAY + 3600)


@pytest.fixture
def relay(store: Store) -> Relay:
    relay = Relay(store, QuietNotifier(), Policy(), prices=load_prices(None), rng=random.Random(1))
    relay.keys.add("make", frozenset({Scope.SUBMIT}), daily_budget_usd=0.05)
    return relay


def jobs(relay: Relay, count: int, owner: str = "make", **fields: Any) -> None:
    relay.submit_many([a_submission(**({"request": CENT} | fields)) for _ in range(count)], owner=owner)


def claim(relay: Relay, limit: int = 100) -> list[Any]:
    claimed = list(relay.execution.claim("w", limit=limit))
    for one in claimed:
        relay.execution.sending(one)
    return claimed


def test_many_at_once_do_not_run_over_a_budget(relay: Relay) -> None:
    """Twenty jobs are ready with a free slot each: those within the budget start, and one that exceeds it."""
    jobs(relay, 20)
    first = claim(relay)
    assert len(first) == 5
    assert relay.execution.claim("w", limit=100) == []

    for one in first:
        relay.execution.complete(one, a_completion(cost_usd=0.002))
    second = claim(relay)  # they cost a cent in all: the four left over bear four more
    assert len(second) == 4
    for one in second:
        relay.execution.complete(one, a_completion(cost_usd=0.01))
    assert relay.execution.claim("w", limit=100) == []


def test_only_the_jobs_of_that_key_wait_and_they_show_the_reason(relay: Relay) -> None:
    jobs(relay, 6)
    relay.submit(a_submission("waits", request=CENT), owner="make")
    first = claim(relay)
    told = relay.queries.status(JobRef(request_id="waits", owner="make"))["waitingFor"]
    assert told == "daily budget of its key: its calls under way may use up the rest"

    jobs(relay, 3, "n8n")
    assert [one.job.owner for one in claim(relay)] == ["n8n"] * 3
    for one in first:
        relay.execution.complete(one, a_completion(cost_usd=0.01))
    told = relay.queries.status(JobRef(request_id="waits", owner="make"))["waitingFor"]
    assert told == "daily budget of its key until 2027-01-16T00:00:00Z"
    assert relay.execution.claim("w", limit=9) == []


def test_the_next_day_begins_anew(relay: Relay, clock: Clock) -> None:
    jobs(relay, 7)
    for one in claim(relay):
        relay.execution.complete(one, a_completion(cost_usd=0.02))
    assert claim(relay) == []
    clock.advance(DAY)

    assert len(claim(relay)) == 2


def test_a_call_that_ends_early_gives_back_what_was_set_aside(relay: Relay, clock: Clock) -> None:
    """Released, failed unpaid, or its worker dead: the reservation is released."""
    jobs(relay, 5)
    handed_back, failed, dead = relay.execution.claim("w", limit=3)
    relay.execution.release(handed_back)
    relay.execution.sending(failed)
    relay.execution.fail(failed, a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL))
    relay.execution.reap(dead.job.id, dead.token, why="the worker died")
    jobs(relay, 10)

    assert len(claim(relay)) == 5


def test_less_is_set_aside_for_a_job_with_a_limit_of_its_own(relay: Relay) -> None:
    jobs(relay, 20, max_cost_usd=0.005)

    assert len(claim(relay)) == 10


def test_a_default_deadline_stands_still_while_its_key_has_nothing_left(
    relay: Relay, store: Store, clock: Clock
) -> None:
    """A day of waiting is given back to a default deadline; a requested one is absolute."""
    jobs(relay, 4)
    relay.submit(a_submission("asked", request=CENT, deadline_at=clock() + DAY - 60), owner="make")
    relay.submit(a_submission("default", request=CENT), owner="make")
    for one in claim(relay, 4):
        relay.execution.complete(one, a_completion(cost_usd=0.02))
    before = store.read(lambda tx: tx.find("default", "make")[0].deadline_at)
    assert relay.maintenance.expire() == []
    [hold] = relay.queries.overview()["holds"]
    assert (hold["scope"], hold["until"]) == ("budget:make", "2027-01-16T00:00:00.000Z")

    clock.advance(DAY - 3600 + 30)  # the next day has begun
    assert relay.maintenance.expire() == []
    assert relay.queries.overview()["holds"] == []
    after = store.read(lambda tx: tx.find("default", "make")[0].deadline_at)
    assert after is not None and before is not None and after - before == DAY - 3600 + 30
    clock.advance(3600)
    assert [job.request_id for job in relay.maintenance.expire()] == ["asked"]


def test_a_key_that_is_always_out_loses_no_job_to_its_default_deadline(relay: Relay, clock: Clock) -> None:
    jobs(relay, 6)
    for one in claim(relay):
        relay.execution.complete(one, a_completion(cost_usd=0.5))
    for _ in range(3):
        relay.maintenance.expire()
        clock.advance(DAY - 7200)
        assert relay.maintenance.expire() == []
        clock.advance(7200)
        jobs(relay, 1, request=CENT, priority=86_400.0)
        for one in claim(relay, 1):
            relay.execution.complete(one, a_completion(cost_usd=0.5))

    assert relay.queries.overview()["jobs"]["queued"] >= 1
    assert relay.queries.overview()["jobs"]["failed"] == 0


def test_a_deadline_that_passes_while_its_key_has_nothing_left_ends_nothing(relay: Relay, clock: Clock) -> None:
    """It had half an hour left when the budget was spent, and has it again the next day."""
    relay.submit(a_submission("waits", request=CENT), owner="make")
    clock.advance(DAY - 1800)
    jobs(relay, 1, priority=2 * DAY)
    [first] = claim(relay, 1)
    relay.execution.complete(first, a_completion(cost_usd=0.06))
    assert relay.maintenance.expire() == []
    clock.advance(3600)
    assert relay.maintenance.expire() == []

    clock.advance(DAY - 3600 - 1800)  # into the next day
    assert relay.maintenance.expire() == []
    clock.advance(1700)
    assert relay.maintenance.expire() == []
    clock.advance(200)
    assert [job.request_id for job in relay.maintenance.expire()] == ["waits"]


def test_a_batch_job_that_is_called_live_reserves_the_full_price(store: Store) -> None:
    """With the batch price reserved, twice as many would start as the budget allows."""
    relay = Relay(store, QuietNotifier(), Policy(batch_linger=0.0), prices=load_prices(None), rng=random.Random(7))
    relay.keys.add("make", frozenset({Scope.SUBMIT}), daily_budget_usd=0.05)
    jobs(relay, 12, mode="batch")
    batch = relay.batches.plan("w")
    assert batch is not None and batch.count == 10
    batch = relay.batches.claim_due("w")
    assert batch is not None
    relay.batches.mark_create_refused(batch, a_failure(ErrorType.NOT_FOUND, Remedy.FAIL, reason="http_404"))

    assert len(claim(relay)) == 5


def test_earlier_exchanges_of_a_conversation_are_reserved_too(relay: Relay) -> None:
    """It is sent again with each turn: ten thousand tokens cost more than the answer that is reserved for."""
    relay.submit(a_submission("first", request=CENT), owner="make")
    [first] = claim(relay)
    told = {"input_tokens": 1000, "cache_read_input_tokens": 8000, "output_tokens": 1000}
    relay.execution.complete(first, a_completion(usage=told, cost_usd=0.0))
    jobs(relay, 5, request={**CENT, "continueFrom": "first"})

    assert len(claim(relay)) == 2  # at three cents each


def test_a_spent_collection_starts_no_more_rows(relay: Relay, clock: Clock) -> None:
    """By what its calls have cost, and by what those that run may cost; other jobs go on."""
    create(relay, clock, 3, maxCostUsd=0.02, template={"prompt": "Les {{text}}", "options": CENT["options"]})
    first, second = claim(relay)
    assert claim(relay) == []
    for one in (first, second):
        relay.execution.complete(one, a_completion(cost_usd=0.01))
    jobs(relay, 1, owner="admin")
    assert [one.job.collection for one in claim(relay)] == [None]
