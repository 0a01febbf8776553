"""Schema repair: an answer that does not match its schema is repaired once, as an ordinary attempt."""

from __future__ import annotations

import json
import random

import pytest

from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy, Repair, RequestOutcome
from claude_relay.core.jobs.job import Job, State
from claude_relay.core.policy import Policy
from claude_relay.errors import LeaseLost
from claude_relay.ports import Store
from claude_relay.services import ClaimedJob, JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

R = JobRef(request_id="r")


@pytest.fixture
def relay(store: Store) -> Relay:
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))
    relay.submit(a_submission("r", webhook_url=None))
    return relay


def claim(relay: Relay, clock: Clock) -> ClaimedJob:
    clock.advance(120)
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    return claimed


def unfit(relay: Relay, claimed: ClaimedJob, text: str) -> Job:
    fields = dict(partial=text, usage={"input_tokens": 9, "output_tokens": 1}, cost_usd=0.01)
    failure = Failure(type=ErrorType.SCHEMA, message=f"{text} does not fit", remedy=Remedy.RETRY, **fields)
    return relay.execution.fail(claimed, failure)


def test_one_repair_and_no_more(relay: Relay, clock: Clock) -> None:
    """Each has a ledger entry and counts as an attempt; the job fails with the raw text and errorType schema."""
    assert relay.execution.repair(first := claim(relay, clock)) is None
    assert unfit(relay, first, "one").state is State.QUEUED
    second = claim(relay, clock)

    assert relay.execution.repair(second) == Repair(text="one", problem="one does not fit", kinds=(ErrorType.SCHEMA,))
    assert unfit(relay, second, "two").state is State.FAILED
    body = json.loads(relay.queries.result(R) or b"")
    assert (body["errorType"], body["attempts"], body["partialResponse"]) == ("schema", 2, "two")
    assert body["costUsd"] == 0.02 and "asked to fix" in body["error"]
    assert [call["outcome"] for call in relay.queries.job_details(R)["calls"]] == ["schema", "schema"]


def test_it_counts_against_the_tries_that_there_are(store: Store, clock: Clock) -> None:
    relay = Relay(store, QuietNotifier(), Policy(call_attempts=1), rng=random.Random(2))
    relay.submit(a_submission("r", webhook_url=None))

    failed = unfit(relay, claim(relay, clock), "one")

    assert failed.state is State.FAILED
    assert store.read(lambda tx: tx.repair(failed.id, failed.run)) is None


def test_a_crash_in_between_loses_nothing_of_it(relay: Relay, clock: Clock) -> None:
    """The next worker makes the repair, also after a worker died with the job or Claude was overloaded."""
    unfit(relay, claim(relay, clock), "one")
    died = claim(relay, clock)
    relay.execution.reap(died.job.id, died.token, why="killed")
    relay.execution.fail(throttled := claim(relay, clock), a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE))
    assert throttled.job.failures == 1
    last = claim(relay, clock)

    assert relay.execution.repair(last) == Repair(text="one", problem="one does not fit", kinds=(ErrorType.SCHEMA,))
    assert relay.execution.complete(last, a_completion()).state is State.COMPLETED


def test_a_new_run_begins_without_the_faults_of_the_old_one(relay: Relay, clock: Clock) -> None:
    unfit(relay, claim(relay, clock), "one")
    unfit(relay, claim(relay, clock), "two")
    relay.retry(R)
    again = claim(relay, clock)

    assert relay.execution.repair(again) is None
    assert unfit(relay, again, "three").state is State.QUEUED


def test_every_request_of_a_call_is_in_the_ledger_and_the_sums_agree(relay: Relay, clock: Clock) -> None:
    """The callback has the total; the ledger entries add up to it."""
    claimed = claim(relay, clock)
    one = {"input_tokens": 10, "output_tokens": 5}
    relay.execution.start_followup(
        claimed, RequestOutcome(outcome="paused", usage=one, cost_usd=0.25, upstream_request_id="req_1")
    )
    both = {"input_tokens": 20, "output_tokens": 10}
    done = a_completion(usage=both, last_usage=one, cost_usd=0.5, upstream_request_id="req_2")
    relay.execution.complete(claimed, done)

    body, record = json.loads(relay.queries.result(R) or b""), relay.queries.job_details(R)
    assert (body["usage"], body["costUsd"], body["attempts"]) == (both, 0.75, 1)
    told = [(call["outcome"], call["usage"], call["costUsd"], call["upstreamRequestId"]) for call in record["calls"]]
    assert told == [("paused", one, 0.25, "req_1"), ("completed", one, 0.5, "req_2")]


def test_a_worker_that_lost_its_lease_goes_on_with_nothing(relay: Relay, clock: Clock) -> None:
    claimed = claim(relay, clock)
    relay.execution.reap(claimed.job.id, claimed.token, why="killed")

    with pytest.raises(LeaseLost):
        relay.execution.start_followup(claimed, RequestOutcome(outcome="paused"))


def test_another_model_that_is_asked_instead_mends_the_answer_too(store: Store, clock: Clock) -> None:
    """Its attempts start from zero, and a pending repair stays with its run."""
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(7))
    options = {"model": "claude-sonnet-5-5", "maxTokens": 100, "fallbackModels": ["claude-opus-5-5"]}
    relay.submit(a_submission("r", webhook_url=None, request={"prompt": "Hei", "options": options}))
    unfit(relay, claim(relay, clock), "one")
    relay.execution.fail(claim(relay, clock), a_failure(ErrorType.REFUSED, Remedy.FAIL))
    other = claim(relay, clock)

    assert other.job.model == "claude-opus-5-5"
    assert relay.execution.repair(other) == Repair(text="one", problem="one does not fit", kinds=(ErrorType.SCHEMA,))
    assert unfit(relay, other, "two").state is State.FAILED


@pytest.mark.parametrize("kind", [kind for kind in ErrorType if kind not in (ErrorType.SCHEMA, ErrorType.CHECKS)])
def test_an_attempt_that_fails_otherwise_leaves_no_repair(relay: Relay, clock: Clock, kind: ErrorType) -> None:
    """CASES M4: half of an answer is asked for again as it was, not to be fixed."""
    relay.execution.fail(claim(relay, clock), a_failure(kind, Remedy.RETRY, partial="half"))

    assert relay.execution.repair(claim(relay, clock)) is None


@pytest.mark.parametrize("kind", [ErrorType.UPSTREAM, ErrorType.SCHEMA])
def test_an_item_of_a_batch_is_repaired_only_where_its_answer_did_not_fit(
    store: Store, clock: Clock, kind: ErrorType
) -> None:
    """CASES M4: an item that fails otherwise is sent again as it was."""
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(3))
    relay.submit(a_submission("b", mode="batch", webhook_url=None))
    stored = []
    for _ in range(2):
        clock.advance(3600)
        batch = relay.batches.plan("w")
        assert batch is not None
        [entry] = relay.batches.contents(batch)
        stored.append(relay.batches.repair(entry))
        relay.batches.record_result(entry, a_failure(kind, Remedy.RETRY, partial="half"))

    repair = Repair(text="half", problem="it was schema", kinds=(ErrorType.SCHEMA,))
    assert stored == [None, repair if kind is ErrorType.SCHEMA else None]


def test_each_kind_of_fault_is_repaired_once_in_any_order(store: Store, clock: Clock) -> None:
    """CASES M4: a schema that does not fit again after a repair of the checks ends the run."""
    relay = Relay(store, QuietNotifier(), Policy(call_attempts=9), rng=random.Random(4))
    relay.submit(a_submission("r", webhook_url=None))
    states = [
        relay.execution.fail(claim(relay, clock), a_failure(kind)).state
        for kind in (ErrorType.SCHEMA, ErrorType.CHECKS, ErrorType.SCHEMA)
    ]

    assert states == [State.QUEUED, State.QUEUED, State.FAILED]
