"""The maximum cost of a collection, reached while its rows run: what starts, what ends, and the one callback."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from claude_relay.config import load_prices
from claude_relay.core.keys import Scope
from claude_relay.core.policy import DAY, Policy
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.collections import C, callbacks, create

#: A thousand tokens of Sonnet's answer cost a cent, in a batch half of it, and its prompt next to nothing.
TEMPLATE = {"prompt": "Les {{text}}", "options": {"model": "claude-sonnet-5-5", "maxTokens": 1000}}


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0 // DAY * DAY + 3600)


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), prices=load_prices(None), rng=random.Random(1))


def work(relay: Relay, *, cost: float, limit: int = 100) -> int:
    """Calls until no more start; how many."""
    made = 0
    while claimed := relay.execution.claim("w", limit=limit):
        for item in claimed:
            relay.execution.sending(item)
            relay.execution.complete(item, a_completion(cost_usd=cost))
            made += 1
    return made


@pytest.mark.parametrize(("limit", "cost"), [(0.8, 0.1), (0.003, 0.0003), (0.07, 0.007)])
def test_a_sum_of_fractions_that_reaches_the_maximum_is_an_end(
    relay: Relay, clock: Clock, limit: float, cost: float
) -> None:
    """Eight times 0.1 is a little less than 0.8 for a computer: no row may wait for the rest of a day for that."""
    create(relay, clock, 20, template=TEMPLATE, maxCostUsd=limit)
    called = work(relay, cost=cost, limit=1)
    relay.collection_actions.tend()
    [body] = callbacks(relay)

    assert (body["completed"], body["failed"]) == (called, 20 - called)
    assert body["costUsd"] == pytest.approx(limit)


def send(relay: Relay) -> list[Any]:
    """Plan what may be planned now, and send it; the entries of all batches."""
    while relay.batches.plan("w") is not None:
        pass
    entries: list[Any] = []
    while (batch := relay.batches.claim_due("w")) is not None:
        contents = relay.batches.contents(batch)
        relay.batches.sending(batch, [entry.item.custom_id for entry in contents])
        entries += contents
    return entries


def test_a_collection_that_waits_for_its_batch_keeps_no_other_job_out_of_a_batch(relay: Relay, clock: Clock) -> None:
    """Its rows are older, and may not start before the batch has ended, which can take a day."""
    create(relay, clock, 80, template=TEMPLATE, mode="batch", maxCostUsd=0.05)
    first = send(relay)
    assert len(first) == 10
    reason = relay.queries.status(JobRef(request_id="c:11"))["waitingFor"]
    assert reason == "maxCostUsd of its collection: its calls under way may use up the rest"
    relay.submit(a_submission("single", mode="batch"))
    clock.advance(20)  # longer than it waits for others

    assert [entry.job.request_id for entry in send(relay)] == ["single"]


def test_a_batch_over_the_maximum_is_the_last(relay: Relay, clock: Clock) -> None:
    create(relay, clock, 80, template=TEMPLATE, mode="batch", maxCostUsd=0.05)
    called = 0
    while entries := send(relay):
        for entry in entries:
            relay.batches.record_result(entry, a_completion(cost_usd=0.004))
        called += len(entries)
        relay.collection_actions.tend()
    [body] = callbacks(relay)

    assert (body["completed"], body["failed"], called) == (called, 80 - called, called)
    assert 0.05 <= body["costUsd"] < 0.1


CHECKED = {
    "prompt": "{{text}}",
    "options": {
        "model": "claude-sonnet-5-5",
        "maxTokens": 1000,
        "outputSchema": {"type": "object", "properties": {"a": {"type": "number"}}},
        "checks": ["a == 1"],
    },
}


def test_the_answer_of_a_row_that_waits_for_its_repair_is_kept(relay: Relay, clock: Clock) -> None:
    """It was called and paid for: the failure says so, has what Claude wrote, and names the check."""
    create(relay, clock, 4, template=CHECKED, mode="batch", maxCostUsd=0.02)
    entries = send(relay)
    for entry in entries:
        wrong = entry is entries[0]
        relay.batches.record_result(entry, a_completion('{"a": 2}' if wrong else '{"a": 1}', cost_usd=0.008))
    relay.collection_actions.tend()
    [body] = callbacks(relay)
    [failure] = body["failures"]
    result = relay.queries.result(JobRef(request_id="c:1"))

    assert (body["completed"], body["failed"], failure["errorType"]) == (3, 1, "budget")
    assert "was called again, to repair its answer: 1 of 1 checks failed: “a == 1” is false" in failure["error"]
    assert json.loads(result)["partialResponse"] == '{"a": 2}'


def test_no_repair_is_asked_for_above_the_maximum(relay: Relay, clock: Clock) -> None:
    """The answer is delivered with its failed check, as with a maximum of the job."""
    create(relay, clock, 2, template=CHECKED, maxCostUsd=0.005)
    [item] = relay.execution.claim("w", limit=9)
    relay.execution.sending(item)
    relay.execution.complete(item, a_completion('{"a": 2}', json={"a": 2}, cost_usd=0.006))
    relay.collection_actions.tend()
    [body] = callbacks(relay)

    assert (body["completed"], body["failed"], body["checksFailed"]) == (1, 1, 1)
    assert body["failures"][0]["error"] == "maxCostUsd 0.005 of its collection was reached before this row was called"


def test_a_retry_has_the_maximum_once_more(relay: Relay, clock: Clock) -> None:
    """The rows that were not called are called in the next generations; the cost of the whole adds up."""
    create(relay, clock, 10, template=TEMPLATE, maxCostUsd=0.04)
    counts = []
    for generation in (1, 2, 3):
        if generation > 1:
            relay.collection_actions.retry(C)
        work(relay, cost=0.01)
        relay.collection_actions.tend()
        [body] = callbacks(relay)
        counts.append((body["generation"], body["status"], body["completed"], round(body["costUsd"], 6)))

    assert counts == [(1, "partial", 4, 0.04), (2, "partial", 8, 0.08), (3, "completed", 10, 0.1)]


def test_the_budget_of_a_key_holds_the_rows_until_it_is_raised(relay: Relay, clock: Clock) -> None:
    """They wait with the reason, none fails, and the one callback comes when the last has ended."""
    relay.keys.add("make", frozenset({Scope.SUBMIT}), daily_budget_usd=0.8)
    create(relay, clock, 20, template=TEMPLATE, owner="make")
    assert work(relay, cost=0.1, limit=1) == 8
    relay.collection_actions.tend()
    waiting = relay.queries.status(JobRef(request_id="c:20", owner="make"))
    assert waiting["waitingFor"].startswith("daily budget of its key until ")
    assert relay.collections.show(C)["waitingFor"] == waiting["waitingFor"]
    relay.maintenance.expire()
    assert [hold["scope"] for hold in relay.queries.overview()["holds"]] == ["budget:make"]

    relay.keys.set_budget("make", None)
    assert work(relay, cost=0.1) == 12
    [body] = callbacks(relay)
    assert (body["status"], body["completed"], body["costUsd"]) == ("completed", 20, pytest.approx(2.0))


def test_the_rows_of_a_large_collection_fail_in_steps(store: Store, clock: Clock) -> None:
    """A second at most at once: in between the worker takes back the jobs of dead workers."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), prices=load_prices(None), rng=random.Random(1))
    ticks = itertools.count(0.0, 0.6)
    relay.collection_actions._clock = lambda: next(ticks)
    create(relay, clock, 300, template=TEMPLATE, maxCostUsd=0.01)
    work(relay, cost=0.02)
    counts = []
    while relay.collections.show(C)["status"] == "processing":
        relay.collection_actions.tend()
        counts.append(relay.collections.show(C)["failed"])

    assert counts == [100, 200, 299]
    assert [body["failed"] for body in callbacks(relay)] == [299]
