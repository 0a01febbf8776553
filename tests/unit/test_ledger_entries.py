"""Ledger entries: each transition that ends an attempt ends its entry, with all that the attempt used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.jobs import batch_transitions, transitions
from claude_relay.core.jobs.change import Call, Change
from claude_relay.core.jobs.failure import Failure, PartialResponse, Remedy, RequestOutcome
from claude_relay.core.jobs.job import Job, Lease, OnInterrupt, State
from claude_relay.core.policy import Policy
from tests.support.builders import a_completion, a_failure

NOW = 1_000.0
CALL = Call(job_id="j", number=1, run=1, started_at=NOW - 40, worker="w", model="alias", reserved_usd=0.9)
ITEM = replace(CALL, mode="batch", reserved_usd=None)
#: A call that had begun, and what its last request says it used.
BEGUN = replace(CALL, sent=True, first_byte_at=NOW - 30, upstream_request_id="req_0")
TOTAL, LAST = {"input_tokens": 30}, {"input_tokens": 10}
USED: dict[str, Any] = dict(
    usage=TOTAL, last_usage=LAST, cost_usd=0.25, model="dated", upstream_request_id="req_1", first_byte_at=NOW - 20
)
ENTRY: dict[str, Any] = dict(
    sent=True, ended_at=NOW, usage=LAST, cost_usd=0.25, model="dated", upstream_request_id="req_1",
    first_byte_at=NOW - 20, text_length=4,
)  # fmt: skip
CANCEL = {"cancel_requested_at": 1.0}


def a_job(state: State = State.RUNNING, **fields: Any) -> Job:
    values: dict[str, Any] = dict(
        id="j", owner="o", request_id="r", body_hash="h", state=state, version=3, created_at=0.0, updated_at=0.0,
        due_at=0.0, model="alias", run_started_at=0.0, deadline_at=500.0, attempt=1, calls=1, sent=True, cost_usd=0.5,
    )  # fmt: skip
    if state is State.RUNNING:
        values["lease"] = Lease(worker="w", token="t", expires_at=NOW + 60)
    return Job(**(values | fields))


def fail(job: Job, failure: Failure, call: Call = CALL) -> Change:
    token = None if call.mode == "batch" else "t"
    return transitions.fail(job, failure, token=token, call=call, policy=Policy(), now=NOW, chance=0.5)


def interrupt(job: Job, partial: PartialResponse, call: Call = CALL) -> Change:
    return transitions.interrupt(job, partial, call=call, why="killed", policy=Policy(), now=NOW, chance=0.5)


@pytest.mark.parametrize("call", [CALL, ITEM], ids=["live", "batch"])
@pytest.mark.parametrize("fields", [{}, {"failures": 2}, CANCEL], ids=["counted", "last", "cancelled"])
@pytest.mark.parametrize("remedy", Remedy)
def test_a_failed_attempt_ends_its_entry_with_its_cost(remedy: Remedy, fields: dict[str, Any], call: Call) -> None:
    """CASES M5: whether the job is retried, waits, fails or is cancelled; the job's cost grows by that of the call."""
    job = a_job(State.RUNNING if call is CALL else State.BATCHED, **fields)
    change = fail(job, a_failure(remedy=remedy, partial="half", **USED), call)

    assert change.call == replace(call, outcome="upstream", detail="it was upstream", **ENTRY)
    assert change.job.cost_usd == 0.75


def test_a_failure_without_figures_keeps_those_of_the_entry() -> None:
    """CASES M5: the model, the request id and the first byte; what was never sent is not said to have been sent."""
    change = fail(a_job(), a_failure(sent=False), BEGUN)

    assert change.call == replace(BEGUN, sent=False, ended_at=NOW, outcome="upstream", detail="it was upstream")
    assert change.job.cost_usd == 0.5


@pytest.mark.parametrize(
    "fields",
    [{}, {"interruptions": 1}, {"on_interrupt": OnInterrupt.HOLD}, {"on_interrupt": OnInterrupt.PARTIAL}, CANCEL],
    ids=["retried", "last", "held", "partial", "cancelled"],
)
def test_an_interrupted_call_ends_its_entry_with_its_cost(fields: dict[str, Any]) -> None:
    """CASES M5: by the figures of the stream so far, whatever `onInterrupt` or a cancel makes of the job."""
    partial = PartialResponse(text="half", **USED)
    change = interrupt(a_job(**fields), partial)

    assert change.call == replace(CALL, outcome="interrupted", detail="killed", **(ENTRY | {"model": "alias"}))
    assert (change.job.cost_usd, change.job.ambiguous) == (0.75, True)


@pytest.mark.parametrize("fields", [{}, CANCEL], ids=["retried", "cancelled"])
def test_an_interrupted_call_without_a_checkpoint_keeps_the_figures_of_its_entry(fields: dict[str, Any]) -> None:
    """CASES M5: a cost that was stored with the call counts."""
    call = replace(BEGUN, usage=LAST, cost_usd=0.25)
    change = interrupt(a_job(**fields), PartialResponse(), call)

    assert change.call == replace(call, ended_at=NOW, outcome="interrupted", detail="killed")
    assert change.job.cost_usd == 0.75


@pytest.mark.parametrize("fields", [{}, CANCEL], ids=["queued", "cancelled"])
def test_a_call_that_was_not_sent_ends_its_entry_without_a_cost(fields: dict[str, Any]) -> None:
    """CASES M5: returned by its worker, or interrupted before the first byte."""
    job = a_job(sent=False, **fields)
    released = transitions.release(job, token="t", call=CALL, now=NOW)
    interrupted = interrupt(job, PartialResponse())

    assert released.call == replace(CALL, ended_at=NOW, outcome="released")
    assert interrupted.call == replace(CALL, ended_at=NOW, outcome="released", detail="killed")
    assert {(change.job.cost_usd, change.job.ambiguous) for change in (released, interrupted)} == {(0.5, False)}


@pytest.mark.parametrize("call", [CALL, ITEM], ids=["live", "batch"])
def test_a_complete_answer_ends_its_entry_with_its_cost(call: Call) -> None:
    """CASES M5: the entry has the last request's tokens, the job those of the whole call."""
    job = a_job(State.RUNNING if call is CALL else State.BATCHED, **CANCEL)
    done = a_completion("Svar", **USED)
    change = transitions.complete(job, done, token="t" if call is CALL else None, call=call, now=NOW)
    bare = a_completion("Svar", model="dated", usage=LAST, cost_usd=0.25)

    assert change.call == replace(call, outcome="completed", **ENTRY)
    assert (change.job.cost_usd, change.job.usage, change.job.response_length) == (0.75, TOTAL, 4)
    assert transitions.complete(a_job(), bare, token="t", call=BEGUN, now=NOW).call == replace(
        BEGUN, outcome="completed", **(ENTRY | {"upstream_request_id": "req_0", "first_byte_at": NOW - 30})
    )


def test_a_followup_request_ends_the_entry_of_the_one_before() -> None:
    """CASES M5: with its cost; the new entry has the number, the worker and what is reserved."""
    seen = RequestOutcome(
        outcome="paused", detail="tools", usage=LAST, cost_usd=0.25, model="dated", upstream_request_id="req_1",
        first_byte_at=NOW - 20, text_length=4,
    )  # fmt: skip
    change = transitions.continue_call(a_job(), seen, token="t", call=CALL, now=NOW)
    bare = transitions.continue_call(a_job(), RequestOutcome(outcome="paused"), token="t", call=BEGUN, now=NOW)

    assert change.call == replace(CALL, outcome="paused", detail="tools", **ENTRY)
    assert change.next_call == replace(CALL, number=2, started_at=NOW, sent=True)
    assert bare.call == replace(BEGUN, ended_at=NOW, outcome="paused")


def test_a_job_that_leaves_its_batch_ends_its_entry() -> None:
    """CASES M5: cancelled, past its deadline, called live, or queued again as the batch was never created."""
    job, call = a_job(State.BATCHED), replace(ITEM, sent=True)
    cancelled = batch_transitions.end_in_batch(job, call=ITEM, now=NOW)
    late = batch_transitions.end_in_batch(job, call=ITEM, now=NOW, deadline=True)
    paid = batch_transitions.promote(job, call=ITEM, now=NOW, paid=True)
    given_up = batch_transitions.promote(a_job(State.BATCHED, sent=False), call=ITEM, now=NOW)
    unmade = batch_transitions.leave_batch(job, call=call, now=NOW, why="refused")

    def ended(**fields: Any) -> Call:
        return replace(call, ended_at=NOW, **fields)

    assert cancelled.call == ended(outcome="cancelled", detail="the job was cancelled")
    assert late.call == ended(outcome="deadline", detail="the deadline passed while the job was in a batch")
    assert paid.call == ended(outcome="given_up", detail="not back in time")
    assert given_up.call == ended(outcome="given_up", detail="given up before Claude came to it", sent=False)
    assert unmade.call == ended(outcome="released", detail="refused", sent=False)


def test_a_late_result_completes_the_entry_that_had_ended() -> None:
    """CASES M5: tokens, cost and model are booked to the call of the batch, and its end stays as it was."""
    call = replace(ITEM, ended_at=NOW - 5, outcome="cancelled", detail="the job was cancelled")
    change = batch_transitions.record_late_cost(
        a_job(State.CANCELLED), call=call, usage=LAST, cost_usd=0.25, model="dated", now=NOW
    )
    words = "the job was cancelled; its answer came too late and was paid for"

    assert change.call == replace(call, sent=True, usage=LAST, cost_usd=0.25, model="dated", detail=words)
