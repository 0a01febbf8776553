"""Transitions of a job: every state against every transition, and the counts of each (CONTRACT §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.jobs import transitions
from claude_relay.core.jobs.change import Call, Change
from claude_relay.core.jobs.failure import ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from claude_relay.core.jobs.job import Job, Lease, OnInterrupt, State
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict
from tests.support.builders import a_completion, a_failure

NOW = 1_000.0
POLICY = Policy()
CALL = Call(job_id="j", number=1, run=1, started_at=NOW, worker="w")


def a_job(state: State = State.QUEUED, **fields: object) -> Job:
    known: dict[str, object] = dict(
        id="j", owner="admin", request_id="r", body_hash="h", state=state, version=3, created_at=0.0, updated_at=0.0,
        due_at=0.0, model="claude-sonnet-5-5", run_started_at=0.0, deadline_at=500.0,
    )  # fmt: skip
    if state is State.RUNNING:
        known |= {"lease": Lease(worker="w", token="t", expires_at=NOW + 60), "attempt": 1, "calls": 1}
    if state.final:
        known["finished_at"] = 1.0
    return Job(**(known | fields))  # type: ignore[arg-type]


def fail(job: Job, failure: Failure, policy: Policy = POLICY, chance: float = 0.5) -> Change:
    return transitions.fail(job, failure, token="t", call=CALL, policy=policy, now=NOW, chance=chance)


def interrupt(job: Job, partial: PartialResponse | None = None) -> Change:
    return transitions.interrupt(
        job, partial or PartialResponse(), call=CALL, why="killed", policy=POLICY, now=NOW, chance=0.5
    )


MOVES: dict[str, Callable[[Job], Change]] = {
    "claim": lambda job: transitions.claim(job, lease=Lease(worker="w", token="t", expires_at=1.0), now=NOW),
    "complete": lambda job: transitions.complete(job, a_completion(), token="t", call=CALL, now=NOW),
    "go_on": lambda job: transitions.continue_call(
        job, RequestOutcome(outcome="paused", cost_usd=0.5), token="t", call=CALL, now=NOW
    ),
    "fail": lambda job: fail(job, a_failure()),
    "release": lambda job: transitions.release(job, token="t", call=CALL, now=NOW),
    "interrupt": interrupt,
    "cancel": lambda job: transitions.cancel(job, now=NOW),
    "expire": lambda job: transitions.expire(job, now=NOW),
    "retry": lambda job: transitions.retry(job, policy=POLICY, now=NOW),
}

#: Where each move leads; what is not here is refused.
LEADS = {
    (State.QUEUED, "claim"): State.RUNNING,
    (State.QUEUED, "cancel"): State.CANCELLED,
    (State.QUEUED, "expire"): State.FAILED,
    (State.RUNNING, "complete"): State.COMPLETED,
    (State.RUNNING, "go_on"): State.RUNNING,
    (State.RUNNING, "fail"): State.QUEUED,
    (State.RUNNING, "release"): State.QUEUED,
    (State.RUNNING, "interrupt"): State.QUEUED,
    (State.RUNNING, "cancel"): State.RUNNING,
    (State.HELD, "cancel"): State.CANCELLED,
    (State.HELD, "retry"): State.QUEUED,
    (State.COMPLETED, "retry"): State.QUEUED,
    (State.FAILED, "retry"): State.QUEUED,
    (State.CANCELLED, "retry"): State.QUEUED,
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", State)
def test_every_state_against_every_transition(state: State, move: str) -> None:
    """Each pair has the result in the table, or is refused as a conflict."""
    job = a_job(state)
    if (state, move) not in LEADS:
        with pytest.raises(Conflict):
            MOVES[move](job)
        return
    change = MOVES[move](job)

    assert change.job.state is LEADS[state, move]
    assert (change.expects, change.job.version, change.event.version) == (3, 4, 4)
    assert (change.job.lease is not None) == (change.job.state is State.RUNNING)
    assert (change.job.finished_at is not None) == change.job.state.final


def test_only_the_present_lease_may_end_a_call() -> None:
    job = a_job(State.RUNNING, lease=Lease(worker="w2", token="newer", expires_at=1.0))
    for move in ("complete", "go_on", "fail", "release"):
        with pytest.raises(Conflict):
            MOVES[move](job)


def test_a_followup_request_of_a_call_has_a_ledger_entry_of_its_own() -> None:
    """The previous request's entry ends with its cost, a new one opens, and no further attempt is counted."""
    change = MOVES["go_on"](a_job(State.RUNNING, cost_usd=1.0))

    assert change.call is not None and change.next_call is not None
    assert (change.call.number, change.call.outcome, change.call.cost_usd) == (CALL.number, "paused", 0.5)
    assert (change.next_call.number, change.next_call.outcome, change.next_call.sent) == (2, None, True)
    assert (change.job.calls, change.job.attempt, change.job.cost_usd) == (2, 1, 1.5)


def test_a_claim_counts_and_opens_the_ledger() -> None:
    change = MOVES["claim"](a_job(attempt=1, calls=4))

    assert (change.job.attempt, change.job.calls) == (2, 5)
    assert change.call is not None and (change.call.number, change.call.sent, change.call.outcome) == (5, False, None)


@pytest.mark.parametrize("due", [NOW + 0.001, NOW + 60])
def test_no_job_is_claimed_before_it_is_due(due: float) -> None:
    with pytest.raises(Conflict):
        MOVES["claim"](a_job(due_at=due))


def test_failures_count_and_back_off_until_the_attempts_are_used_up() -> None:
    """Three attempts by default: the third failure is final."""
    job, waits = a_job(State.RUNNING), []
    for _ in range(2):
        job = fail(job, a_failure()).job
        waits.append(job.due_at - NOW)
        job = replace(MOVES["claim"](replace(job, due_at=NOW)).job, lease=a_job(State.RUNNING).lease)
    job = fail(job, a_failure()).job

    assert (job.state, job.failures, job.attempt, job.error_type) == (State.FAILED, 3, 3, "upstream")
    assert 0 < waits[0] < waits[1] <= POLICY.backoff_max


@pytest.mark.parametrize("kind", [ErrorType.RATE_LIMIT, ErrorType.OVERLOADED])
def test_a_throttled_attempt_does_not_count_and_waits_for_retry_after(kind: ErrorType) -> None:
    job = fail(a_job(State.RUNNING, failures=2), a_failure(kind, Remedy.THROTTLE, retry_after=30.0)).job

    assert (job.state, job.attempt, job.failures, job.ambiguous) == (State.QUEUED, 0, 2, False)
    assert job.due_at == NOW + 30.0


def test_a_parked_queue_leaves_the_job_untouched_and_due() -> None:
    job = fail(a_job(State.RUNNING), a_failure(ErrorType.PERMISSION, Remedy.PARK, retry_after=9e6)).job

    assert (job.state, job.attempt, job.failures, job.due_at) == (State.QUEUED, 0, 0, NOW)


def test_a_permanent_error_fails_the_job_at_once() -> None:
    job = fail(a_job(State.RUNNING), a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL)).job

    assert (job.state, job.error_type) == (State.FAILED, "invalid_request")


def test_a_stream_that_broke_after_text_counts_and_is_marked() -> None:
    job = fail(a_job(State.RUNNING), a_failure(ambiguous=True)).job

    assert (job.failures, job.ambiguous) == (1, True)


def test_an_unsent_call_is_returned_free_of_charge() -> None:
    """For every cause, and a little later each time, so that a job which kills its worker cannot spin."""
    job, dues = a_job(State.RUNNING, on_interrupt=OnInterrupt.HOLD), []
    for _ in range(4):
        job = interrupt(job).job
        dues.append(job.due_at - NOW)
        assert (job.state, job.attempt, job.interruptions, job.ambiguous) == (State.QUEUED, 0, 0, False)
        job = replace(a_job(State.RUNNING), unsent=job.unsent)

    assert dues[0] == 0 and dues[1] < dues[2] < dues[3]


@pytest.mark.parametrize(
    "policy, first, second",
    [
        (OnInterrupt.RETRY, State.QUEUED, State.FAILED),
        (OnInterrupt.PARTIAL, State.FAILED, State.FAILED),
        (OnInterrupt.HOLD, State.HELD, State.HELD),
    ],
)
def test_an_interrupted_call_follows_on_interrupt(policy: OnInterrupt, first: State, second: State) -> None:
    """Retried once by default, marked; then failed with the partial response. No job loops by killing its worker."""
    job = a_job(State.RUNNING, sent=True, on_interrupt=policy)
    one = interrupt(job, PartialResponse(text="half")).job
    two = interrupt(replace(job, interruptions=1, ambiguous=True), PartialResponse(text="half")).job

    assert (one.state, two.state) == (first, second)
    assert one.ambiguous and (one.interruptions, two.interruptions) == (1, 2)
    assert one.state is not State.FAILED or one.error_type == "interrupted"


def test_a_cancel_requested_during_a_call_prevents_another_attempt() -> None:
    """But not over a complete answer."""
    job = a_job(State.RUNNING, cancel_requested_at=1.0)

    assert fail(job, a_failure()).job.state is State.CANCELLED
    assert interrupt(replace(job, sent=True)).job.state is State.CANCELLED
    assert MOVES["complete"](job).job.state is State.COMPLETED


def test_a_job_cancelled_during_a_call_has_the_usage_of_that_call() -> None:
    job, used = a_job(State.RUNNING, cancel_requested_at=1.0, sent=True), {"input_tokens": 10, "output_tokens": 2}
    failed = fail(job, a_failure(usage=used, partial="half")).job
    killed = interrupt(job, PartialResponse(text="half", usage=used)).job

    assert (failed.usage, failed.response_length) == (killed.usage, killed.response_length) == (used, 4)


def test_a_retry_resets_the_counts_and_leaves_costs_to_the_ledger() -> None:
    job = a_job(State.FAILED, attempt=3, failures=3, interruptions=1, ambiguous=True, cost_usd=0.5, calls=7, error="x",
                error_type="upstream")  # fmt: skip
    after = MOVES["retry"](job).job

    assert (after.run, after.attempt, after.failures, after.interruptions, after.ambiguous) == (2, 0, 0, 0, False)
    assert (after.calls, after.cost_usd, after.error, after.finished_at) == (7, None, None, None)
    assert after.deadline_at == NOW + POLICY.deadline


def test_a_sum_of_costs_has_no_rounding_errors() -> None:
    """A callback once had 0.0007019999999999999 dollars."""
    paused, job = a_failure(cost_usd=0.000168), a_job(State.RUNNING, cost_usd=0.000534)

    assert fail(job, paused).job.cost_usd == 0.000702


REMEDIES = st.sampled_from(Remedy)


@given(st.lists(st.tuples(REMEDIES, st.booleans()), max_size=40), st.floats(0, 0.999))
def test_no_sequence_of_failures_exceeds_the_attempts(row: list[tuple[Remedy, bool]], chance: float) -> None:
    """In every order: at most RELAY_CALL_ATTEMPTS counted failures, and the mark is never removed within a run."""
    job, marked = a_job(), False
    for remedy, ambiguous in row:
        if job.state is not State.QUEUED:
            break
        lease = Lease(worker="w", token="t", expires_at=0.0)
        job = transitions.claim(replace(job, due_at=NOW), lease=lease, now=NOW).job
        job = fail(job, a_failure(remedy=remedy, ambiguous=ambiguous), chance=chance).job
        marked = marked or ambiguous

        assert job.failures <= POLICY.call_attempts
        assert job.ambiguous == marked
        assert job.due_at <= NOW + max(POLICY.backoff_max, 0) + 1 or job.state is State.QUEUED
        assert job.attempt >= job.failures


#: The event that each move writes, and its details.
EVENTS: dict[str, tuple[str, dict[str, object]]] = {
    "claim": ("claimed", {"attempt": 1, "worker": "w"}),
    "complete": ("completed", {"attempt": 1, "outputTokens": 5, "stopReason": "end_turn"}),
    "go_on": ("resumed", {"outcome": "paused", "error": None}),
    "release": ("released", {}),
    "interrupt": ("released", {"why": "killed"}),
    "cancel": ("cancelled", {}),
    "expire": ("failed", {"errorType": "deadline", "error": "the deadline passed before the call could be made"}),
    "retry": ("retried", {"run": 2}),
}
_STARTS = {"claim": State.QUEUED, "cancel": State.QUEUED, "expire": State.QUEUED, "retry": State.FAILED}


@pytest.mark.parametrize("move", EVENTS)
def test_each_transition_has_its_own_event(move: str) -> None:
    """CASES M8: readers of the timeline, the event streams and the metrics go by these words."""
    event = MOVES[move](a_job(_STARTS.get(move, State.RUNNING))).event

    assert (event.name.value, event.detail) == EVENTS[move]
    assert (event.job_id, event.subject, event.at) == ("j", "job", NOW)


@pytest.mark.parametrize(
    "remedy, fields, event",
    [
        (Remedy.FAIL, {}, "failed"),
        (Remedy.RETRY, {"failures": POLICY.call_attempts - 1}, "failed"),
        (Remedy.RETRY, {}, "deferred"),
        (Remedy.THROTTLE, {}, "deferred"),
        (Remedy.PARK, {}, "deferred"),
        (Remedy.FAIL, {"cancel_requested_at": 1.0}, "cancelled"),
    ],
)
def test_the_event_of_a_failed_attempt(remedy: Remedy, fields: dict[str, object], event: str) -> None:
    """CASES M8: it says why, and when the job is due again."""
    change = fail(a_job(State.RUNNING, **fields), a_failure(remedy=remedy, reason="http_500"))
    detail: dict[str, object] = {"errorType": "upstream", "error": "it was upstream"}
    if event == "deferred":
        detail |= {"dueAt": change.job.due_at, "reason": "http_500"}

    assert (change.event.name.value, change.event.detail) == (event, {} if event == "cancelled" else detail)


@pytest.mark.parametrize(
    "policy, event",
    [(OnInterrupt.RETRY, "deferred"), (OnInterrupt.PARTIAL, "failed"), (OnInterrupt.HOLD, "held")],
)
def test_the_event_of_an_interrupted_call(policy: OnInterrupt, event: str) -> None:
    """CASES M8."""
    job = a_job(State.RUNNING, sent=True, on_interrupt=policy)

    assert interrupt(job).event.name.value == event
    assert MOVES["cancel"](a_job(State.RUNNING)).event.name.value == "cancel_requested"


def test_a_failed_job_has_the_text_of_its_error_and_the_length_of_its_partial_response() -> None:
    """CASES M8."""
    failure = a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL, partial="half")
    failed = fail(a_job(State.RUNNING, waiting_for="x"), failure).job
    kept = interrupt(
        a_job(State.RUNNING, sent=True, on_interrupt=OnInterrupt.PARTIAL), PartialResponse(text="half")
    ).job

    assert (failed.error_type, failed.error, failed.response_length) == ("invalid_request", "it was invalid_request", 4)
    assert (kept.error_type, kept.error, kept.response_length) == (
        "interrupted", "the call was interrupted: killed", 4,
    )  # fmt: skip
    assert (failed.finished_at, failed.waiting_for, failed.lease) == (NOW, None, None)


def test_a_cancelled_job_says_so() -> None:
    """CASES M8: at once, during a call, and on a release."""
    asked = a_job(State.RUNNING, cancel_requested_at=1.0)
    for change in (MOVES["cancel"](a_job()), fail(asked, a_failure()), MOVES["release"](asked)):
        job = change.job
        assert (job.error_type, job.error, job.finished_at) == ("cancelled", "the job was cancelled", NOW)


@pytest.mark.parametrize(("unsent", "delays"), [(0, False), (1, True), (2, True)])
def test_a_job_that_was_returned_unsent_before_waits_a_little(unsent: int, delays: bool) -> None:
    """The first death of a worker before anything was sent costs no time; from the second on it slows down."""
    job = interrupt(a_job(State.RUNNING, unsent=unsent)).job

    assert (job.state, job.unsent, job.attempt) == (State.QUEUED, unsent + 1, 0)
    assert (job.due_at > NOW) is delays
