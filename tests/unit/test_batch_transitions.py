"""Transitions of jobs in batches: every state against every transition, and the counts of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.jobs import batch_transitions, transitions
from claude_relay.core.jobs.change import Call, Change
from claude_relay.core.jobs.failure import Remedy
from claude_relay.core.jobs.job import Job, Lease, State
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict
from tests.support.builders import a_completion, a_failure

NOW = 1_800_000_000.0


def a_job(state: State = State.BATCHED, **fields: Any) -> Job:
    known: dict[str, Any] = dict(
        id="j", owner="o", request_id="r", body_hash="h", state=state, version=3, created_at=NOW - 60,
        updated_at=NOW - 60, due_at=NOW - 60, run_started_at=NOW - 60, mode="batch", lane="batch",
        calls=2, attempt=2, sent=state is State.BATCHED, deadline_at=NOW + 100,
    )  # fmt: skip
    if state is State.RUNNING:
        known["lease"] = Lease(worker="w", token="t", expires_at=NOW + 60)
    if state.final:
        known["finished_at"] = NOW
    return Job(**(known | fields))


CALL = Call(job_id="j", number=2, run=1, started_at=NOW - 40, worker="w", mode="batch", sent=True)
MOVES: dict[str, Callable[[Job], Change]] = {
    "gather": lambda job: batch_transitions.enter_batch(job, worker="w", now=NOW),
    "ungather": lambda job: batch_transitions.leave_batch(job, call=CALL, now=NOW, why="x"),
    "promote": lambda job: batch_transitions.promote(job, call=CALL, now=NOW),
    "withdraw": lambda job: batch_transitions.end_in_batch(job, call=CALL, now=NOW),
    "complete": lambda job: transitions.complete(job, a_completion(), token=None, call=CALL, now=NOW),
    "fail": lambda job: transitions.fail(
        job, a_failure(), token=None, call=CALL, policy=Policy(), now=NOW, chance=0.5
    ),
}  # fmt: skip
LEADS = {
    (State.QUEUED, "gather"): State.BATCHED,
    (State.QUEUED, "promote"): State.QUEUED,
    (State.QUEUED, "complete"): State.COMPLETED,  # promoted, and nothing was sent since
    (State.QUEUED, "fail"): State.QUEUED,
    (State.BATCHED, "ungather"): State.QUEUED,
    (State.BATCHED, "promote"): State.QUEUED,
    (State.BATCHED, "withdraw"): State.CANCELLED,
    (State.BATCHED, "complete"): State.COMPLETED,
    (State.BATCHED, "fail"): State.QUEUED,
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", State)
def test_every_state_against_every_transition(state: State, move: str) -> None:
    job = a_job(state)
    if (state, move) not in LEADS:
        with pytest.raises(Conflict):
            MOVES[move](job)
        return
    change = MOVES[move](job)

    assert change.job.state is LEADS[state, move]
    assert (change.job.version, change.expects) == (4, 3)
    assert change.job.lease is None


@pytest.mark.parametrize("move", ["ungather", "promote", "withdraw", "complete", "fail"])
def test_a_later_attempt_is_not_changed_by_the_result_of_an_earlier_one(move: str) -> None:
    """It is fenced by its number: a result of the second attempt does not apply to the third."""
    with pytest.raises(Conflict):
        MOVES[move](a_job(calls=3))


def test_a_new_run_is_not_completed_by_an_old_ones_batch() -> None:
    with pytest.raises(Conflict):
        MOVES["complete"](a_job(State.QUEUED, run=2))


def test_a_job_of_the_live_lane_does_not_enter_a_batch() -> None:
    with pytest.raises(Conflict):
        MOVES["gather"](a_job(State.QUEUED, lane="live"))


def test_a_batch_that_was_never_created_does_not_count() -> None:
    change = MOVES["ungather"](a_job())

    assert (change.job.attempt, change.job.failures) == (1, 0)
    assert change.call is not None and (change.call.outcome, change.call.sent) == ("released", False)


def test_a_promoted_job_has_the_place_of_a_live_job() -> None:
    change = MOVES["promote"](a_job())

    assert change.job.rank == NOW - 60
    assert (change.job.lane, change.job.ambiguous) == ("live", False)
    assert batch_transitions.promote(a_job(), call=CALL, now=NOW, paid=True).job.ambiguous


def test_a_default_deadline_gets_the_time_in_the_batch_back() -> None:
    """A requested deadline is absolute."""
    assert MOVES["fail"](a_job()).job.deadline_at == NOW + 140
    assert MOVES["promote"](a_job()).job.deadline_at == NOW + 140
    assert MOVES["fail"](a_job(deadline_asked=True)).job.deadline_at == NOW + 100


def test_a_job_ended_after_its_batch_was_sent_may_be_paid_for() -> None:
    assert MOVES["withdraw"](a_job()).job.ambiguous
    assert not MOVES["withdraw"](a_job(sent=False)).job.ambiguous


def test_a_late_answer_is_booked_in_every_state_of_its_job() -> None:
    for state in State:
        job = a_job(state, cost_usd=0.5)
        change = batch_transitions.record_late_cost(
            job, call=CALL, usage={"input_tokens": 1}, cost_usd=0.25, model="m", now=NOW
        )

        assert replace(change.job, version=3, updated_at=job.updated_at, cost_usd=0.5) == job
        assert change.job.cost_usd == 0.75
        assert change.call is not None and change.call.cost_usd == 0.25


def test_a_permanent_failure_ends_it() -> None:
    failure = a_failure(remedy=Remedy.FAIL)
    change = transitions.fail(a_job(), failure, token=None, call=CALL, policy=Policy(), now=NOW, chance=0.5)

    assert change.job.state is State.FAILED


@pytest.mark.parametrize(
    "move, event, detail",
    [
        ("gather", "gathered", {"attempt": 3}),
        ("ungather", "ungathered", {"why": "x"}),
        ("promote", "promoted", {"paid": False}),
        ("withdraw", "cancelled", {}),
        ("complete", "completed", {"attempt": 2, "outputTokens": 5, "stopReason": "end_turn"}),
    ],
)
def test_each_transition_has_its_own_event(move: str, event: str, detail: dict[str, Any]) -> None:
    """CASES M8."""
    change = MOVES[move](a_job(State.QUEUED if move == "gather" else State.BATCHED))

    assert (change.event.name.value, change.event.detail) == (event, detail)


def test_a_late_result_has_an_event_with_its_cost() -> None:
    """CASES M8."""
    change = batch_transitions.record_late_cost(
        a_job(State.CANCELLED), call=CALL, usage=None, cost_usd=0.25, model="m", now=NOW
    )

    assert (change.event.name.value, change.event.detail) == ("late_result", {"call": 2, "costUsd": 0.25})


@pytest.mark.parametrize(
    "deadline, name, kind, error",
    [
        (False, "cancelled", "cancelled", "the job was cancelled"),
        (True, "failed", "deadline", "the deadline passed while the job was in a batch"),
    ],
)
def test_a_job_that_ends_in_its_batch_says_why(deadline: bool, name: str, kind: str, error: str) -> None:
    """CASES M8: in its event, its status and its entry in the ledger."""
    change = batch_transitions.end_in_batch(a_job(), call=CALL, now=NOW, deadline=deadline)

    assert (change.event.name.value, change.job.error_type, change.job.error) == (name, kind, error)
    assert change.event.detail == ({"errorType": kind, "error": error} if deadline else {})
    assert change.call is not None and (change.call.outcome, change.call.detail) == (kind, error)
