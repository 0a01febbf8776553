"""Checks of an answer: one repair, then `onCheckFailed` decides; live and in a batch."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.config import load_prices
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from claude_relay.core.jobs.job import Job, State
from claude_relay.core.money.estimate import estimate
from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import ClaimedJob, JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission

R = JobRef(request_id="r")
CHECKS = [{"name": "sum", "rule": "a + b == total", "tolerance": "0"}, {"name": "a", "rule": "a > 0", "tolerance": "0"}]
GOOD, BAD = '{"a": 1, "b": 2, "total": 3}', '{"a": 1, "b": 2, "total": 4}'


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))


def submit(relay: Relay, **fields: Any) -> None:
    request = {
        "prompt": "Hei",
        "options": {"model": "claude-sonnet-5-5", "maxTokens": 100, "outputSchema": {}, "checks": CHECKS},
        **{key: fields.pop(key) for key in ("onCheckFailed",) if key in fields},
    }
    relay.submit(a_submission("r", request=request, **fields))


def claim(relay: Relay, clock: Clock) -> ClaimedJob:
    clock.advance(120)
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    return claimed


def answer(relay: Relay, claimed: ClaimedJob, text: str) -> Job:
    return relay.execution.complete(claimed, a_completion(text=text, json=json.loads(text), cost_usd=0.01))


def result(relay: Relay) -> dict[str, Any]:
    return json.loads(relay.queries.result(R) or b"")


def test_an_answer_that_passes_shows_its_checks(relay: Relay, clock: Clock) -> None:
    """Callback, status and record have the same results."""
    submit(relay)
    answer(relay, claim(relay, clock), GOOD)

    body = result(relay)
    assert body["checksFailed"] == 0
    assert body["checks"][0] == {
        "name": "sum", "rule": "a + b == total", "ok": True, "left": "3", "right": "3", "difference": "0",
    }  # fmt: skip
    assert relay.queries.status(R)["checks"] == relay.queries.job_details(R)["checks"] == body["checks"]


def test_one_repair_shows_claude_rule_and_difference(relay: Relay, clock: Clock) -> None:
    """It counts as an attempt, and both calls are in the ledger; a good answer then ends the run."""
    submit(relay)
    assert answer(relay, claim(relay, clock), BAD).state is State.QUEUED
    second = claim(relay, clock)
    repair = relay.execution.repair(second)

    assert repair is not None and repair.text == BAD
    assert "“a + b == total” is false: left is 3, right is 4, the difference is -1" in repair.problem
    assert answer(relay, second, GOOD).state is State.COMPLETED
    body = result(relay)
    assert (body["attempts"], body["costUsd"], body["checksFailed"]) == (2, 0.02, 0)
    assert [call["outcome"] for call in relay.queries.job_details(R)["calls"]] == ["checks", "completed"]


def test_an_answer_that_still_fails_is_delivered_with_its_verdict(relay: Relay, clock: Clock) -> None:
    """`deliver` is the default: the answer was paid for, and a person can look at it."""
    submit(relay)
    answer(relay, claim(relay, clock), BAD)
    answer(relay, claim(relay, clock), BAD)

    body = result(relay)
    assert (body["status"], body["checksFailed"], body["attempts"]) == ("completed", 1, 2)
    assert [check["ok"] for check in body["checks"]] == [False, True]
    assert relay.queries.status(R)["checksFailed"] == 1


def test_on_check_failed_can_fail_the_job(relay: Relay, clock: Clock) -> None:
    """The failure has type `checks`, the results, and the answer as partialResponse."""
    submit(relay, onCheckFailed="fail")
    answer(relay, claim(relay, clock), BAD)
    answer(relay, claim(relay, clock), BAD)

    body = result(relay)
    assert (body["status"], body["errorType"], body["partialResponse"]) == ("failed", "checks", BAD)
    assert body["checksFailed"] == 1 and "1 of 2 checks failed" in body["error"]


def test_schema_and_checks_are_repaired_once_each(relay: Relay, clock: Clock) -> None:
    """At most two repairs a run, in any order."""
    submit(relay)
    schema = Failure(type=ErrorType.SCHEMA, message="does not match", remedy=Remedy.RETRY, partial="x")
    relay.execution.fail(claim(relay, clock), schema)
    assert answer(relay, claim(relay, clock), BAD).state is State.QUEUED
    assert relay.execution.fail(claim(relay, clock), schema).state is State.FAILED


@pytest.mark.parametrize(("limit", "state"), [(0.0099, State.COMPLETED), (5.0, State.QUEUED)])
def test_no_repair_that_the_cost_limit_does_not_allow(relay: Relay, clock: Clock, limit: float, state: State) -> None:
    """Once the limit is spent no other call is made: the answer is delivered."""
    submit(relay, max_cost_usd=limit)

    assert answer(relay, claim(relay, clock), BAD).state is state


def test_a_new_run_begins_without_results(relay: Relay, clock: Clock) -> None:
    """A retry of a job whose checks failed may be repaired once again."""
    submit(relay)
    answer(relay, claim(relay, clock), BAD)
    answer(relay, claim(relay, clock), BAD)
    relay.retry(R)

    assert "checks" not in relay.queries.status(R)
    assert answer(relay, claim(relay, clock), BAD).state is State.QUEUED


def test_an_unknown_rule_is_no_failure(relay: Relay, clock: Clock) -> None:
    """A field that the invoice does not have makes a rule unknown."""
    submit(relay)
    answer(relay, claim(relay, clock), '{"a": 1, "total": 3}')

    body = result(relay)
    assert (body["status"], body["checksFailed"], body["attempts"]) == ("completed", 0, 1)
    assert body["checks"][0]["ok"] is None


@pytest.mark.parametrize(("spare", "state"), [(0.0, State.QUEUED), (-1e-9, State.COMPLETED)])
def test_a_repair_may_use_all_that_the_cost_limit_leaves(
    store: Store, clock: Clock, spare: float, state: State
) -> None:
    """Its input, at least, is to fit beside what the answer has cost; both just so."""
    prices = load_prices(None)
    relay = Relay(store, QuietNotifier(), Policy(), prices=prices, rng=random.Random(1))
    submit(relay)
    claimed = claim(relay, clock)
    least = estimate(claimed.request.request, model=claimed.job.model, prices=prices, mode="live").least
    assert least
    limited = replace(claimed.request, max_cost_usd=0.01 + least + spare)

    assert answer(relay, replace(claimed, request=limited), BAD).state is state


@pytest.mark.parametrize("cost", [0.01, None])
def test_a_cost_that_is_not_known_forbids_no_repair(relay: Relay, clock: Clock, cost: float | None) -> None:
    """Of the answer, or of another call: without a price nothing of it is counted."""
    submit(relay)
    claimed = claim(relay, clock)
    limited = replace(claimed, request=replace(claimed.request, max_cost_usd=0.01))

    done = a_completion(text=BAD, json=json.loads(BAD), cost_usd=cost)
    assert relay.execution.complete(limited, done).state is State.QUEUED
