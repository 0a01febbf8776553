"""Every field that a transition of a job changes, in the job and in its entry in the ledger (CONTRACT §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.jobs import batch_transitions, endings, fallback, transitions
from claude_relay.core.jobs.change import Call, Change, with_partial
from claude_relay.core.jobs.failure import ErrorType, Failure, PartialResponse, Remedy, RequestOutcome, relay_fault
from claude_relay.core.jobs.job import Job, Lease, OnInterrupt, State
from claude_relay.core.policy import Policy
from claude_relay.errors import IllegalTransition, LeaseLost
from tests.support.builders import a_completion, a_failure

NOW = 1_000.0
POLICY = Policy(call_attempts=3, interrupted_attempts=1, backoff_base=1.0, backoff_max=60.0, deadline=86_400.0)
USED = {"input_tokens": 10}
LEASE = Lease(worker="w", token="t", expires_at=NOW + 60)
CALL = Call(
    job_id="j", number=4, run=1, started_at=NOW - 40, worker="w", model="m", first_byte_at=990.0,
    upstream_request_id="req_1", usage={"input_tokens": 3}, cost_usd=0.25, reserved_usd=0.1,
)  # fmt: skip
HALF = PartialResponse(text="half", usage=USED, cost_usd=0.5)


def a_job(state: State = State.QUEUED, **fields: Any) -> Job:
    """A job with a past: no field that a transition resets has its first value."""
    past: dict[str, Any] = dict(
        id="j", owner="admin", request_id="r", body_hash="h", state=state, version=3, created_at=1.0, updated_at=2.0,
        due_at=NOW, model="claude-sonnet-5-5", run_started_at=1.0, deadline_at=2_000.0, calls=4, attempt=2, failures=1,
        unsent=1, cost_usd=1.0, usage={"input_tokens": 1}, waiting_for="x", waiting_error=ErrorType.UPSTREAM,
    )  # fmt: skip
    if state in (State.RUNNING, State.BATCHED):
        past |= dict(sent=True, waiting_for=None, waiting_error=None)
    if state is State.RUNNING:
        past |= dict(lease=LEASE)
    if state is State.BATCHED:
        past |= dict(lane="batch")

    return Job(**(past | fields))


def fail(job: Job, **fields: Any) -> Change:
    return transitions.fail(job, a_failure(**fields), token="t", call=CALL, policy=POLICY, now=NOW, chance=0.5)


def fail_item(job: Job, **fields: Any) -> Change:
    return batch_transitions.fail(job, a_failure(**fields), call=CALL, policy=POLICY, now=NOW, chance=0.5)


def interrupt(job: Job, partial: PartialResponse = HALF) -> Change:
    return transitions.interrupt(job, partial, call=CALL, why="killed", policy=POLICY, now=NOW, chance=0.5)


QUEUED, RUNNING, BATCHED = a_job(), a_job(State.RUNNING), a_job(State.BATCHED)
STOPPED = a_job(State.RUNNING, cancel_requested_at=5.0)
TO_BATCH = a_job(lane="batch")
ENDED = a_job(
    State.FAILED, finished_at=3.0, error="e", error_type="upstream", ambiguous=True, deadline_asked=True,
    deadline_fixed=True, response_length=3, checks=({},), interruptions=1, cancel_requested_at=2.0, fallbacks=("a",),
    waiting_for=None, waiting_error=None, lane="batch", give_up_at=7.0,
)  # fmt: skip

IDLE: dict[str, Any] = {"lease": None, "sent": False}
CLEAR: dict[str, Any] = {"waiting_for": None, "waiting_error": None}
AGAIN: dict[str, Any] = {
    "state": State.QUEUED, "waiting_for": "upstream: it was upstream", "waiting_error": ErrorType.UPSTREAM,
}  # fmt: skip
CANCELLED: dict[str, Any] = {
    "state": State.CANCELLED, "finished_at": NOW, "error_type": "cancelled", "error": "the job was cancelled",
}  # fmt: skip
FAILED: dict[str, Any] = {
    "state": State.FAILED, "finished_at": NOW, "error_type": "upstream", "error": "it was upstream",
}  # fmt: skip
KILLED = "the call was interrupted: killed"
ERROR_ENTRY: dict[str, Any] = {
    "ended_at": NOW, "sent": True, "outcome": "upstream", "detail": "it was upstream", "usage": None, "cost_usd": None,
}  # fmt: skip
BROKEN_ENTRY: dict[str, Any] = {
    "ended_at": NOW, "sent": True, "outcome": "interrupted", "detail": "killed", "usage": USED, "cost_usd": 0.5,
    "text_length": 4,
}  # fmt: skip
RELEASED_ENTRY: dict[str, Any] = {"ended_at": NOW, "outcome": "released"}

#: Transition: the job before, the transition, and what is another value afterwards in the job and in its entry.
#: Version and `updated_at` change each time.
TABLE: dict[str, tuple[Job, Callable[[Job], Change], dict[str, Any], dict[str, Any] | None]] = {
    "complete": (
        RUNNING,
        lambda job: transitions.complete(job, a_completion(), token="t", call=CALL, now=NOW),
        {"state": State.COMPLETED, "finished_at": NOW, "unsent": 0, "response_length": 4, "cost_usd": 1.001,
         "usage": {"input_tokens": 10, "output_tokens": 5}, **IDLE},
        {"ended_at": NOW, "sent": True, "outcome": "completed", "model": "claude-sonnet-5-5", "text_length": 4,
         "usage": {"input_tokens": 10, "output_tokens": 5}, "cost_usd": 0.001},
    ),
    "complete a promoted job by its batch": (
        a_job(lane="live", waiting_for=None, waiting_error=None),
        lambda job: transitions.complete(
            job, a_completion(last_usage=USED, first_byte_at=995.0, upstream_request_id="req_2"), token=None, call=CALL,
            now=NOW),
        {"state": State.COMPLETED, "lane": "batch", "finished_at": NOW, "unsent": 0, "response_length": 4,
         "cost_usd": 1.001, "usage": {"input_tokens": 10, "output_tokens": 5}},
        {"ended_at": NOW, "sent": True, "outcome": "completed", "model": "claude-sonnet-5-5", "text_length": 4,
         "usage": USED, "cost_usd": 0.001, "first_byte_at": 995.0, "upstream_request_id": "req_2"},
    ),
    "fail, retried": (
        RUNNING,
        lambda job: fail(job, partial="half", usage=USED, cost_usd=0.5),
        {**AGAIN, "due_at": NOW + 1.5, "failures": 2, "cost_usd": 1.5, **IDLE},
        {**ERROR_ENTRY, "usage": USED, "cost_usd": 0.5, "text_length": 4},
    ),
    "fail for the first time": (
        a_job(State.RUNNING, failures=0), fail, {**AGAIN, "due_at": NOW + 0.75, "failures": 1, **IDLE}, ERROR_ENTRY,
    ),
    "fail, retried no sooner than the upstream asks": (
        RUNNING, lambda job: fail(job, retry_after=7.0), {**AGAIN, "due_at": NOW + 7, "failures": 2, **IDLE},
        ERROR_ENTRY,
    ),
    "fail for good": (
        RUNNING,
        lambda job: fail(job, remedy=Remedy.FAIL, partial="half", cost_usd=0.5, first_byte_at=995.0, model="n",
                         upstream_request_id="req_2"),
        {**FAILED, "response_length": 4, "cost_usd": 1.5, **IDLE},
        {**ERROR_ENTRY, "cost_usd": 0.5, "text_length": 4, "first_byte_at": 995.0, "model": "n",
         "upstream_request_id": "req_2"},
    ),
    "fail at the last attempt": (
        a_job(State.RUNNING, failures=2), lambda job: fail(job, usage=USED),
        {**FAILED, "failures": 3, "usage": USED, **IDLE}, {**ERROR_ENTRY, "usage": USED},
    ),
    "fail, throttled": (
        RUNNING, lambda job: fail(job, remedy=Remedy.THROTTLE), {**AGAIN, "due_at": NOW + 3, "attempt": 1, **IDLE},
        ERROR_ENTRY,
    ),
    "fail, throttled for no time": (
        RUNNING, lambda job: fail(job, remedy=Remedy.THROTTLE, retry_after=0.0), {**AGAIN, "attempt": 1, **IDLE},
        ERROR_ENTRY,
    ),
    "fail, parked": (
        RUNNING, lambda job: fail(job, remedy=Remedy.PARK), {**AGAIN, "attempt": 1, **IDLE}, ERROR_ENTRY,
    ),
    "fail, cancelled": (
        STOPPED, lambda job: fail(job, partial="half"), {**CANCELLED, "response_length": 4, **IDLE},
        {**ERROR_ENTRY, "text_length": 4},
    ),
    "release": (
        a_job(State.RUNNING, sent=False),
        lambda job: transitions.release(job, token="t", call=CALL, now=NOW),
        {"state": State.QUEUED, "attempt": 1, "lease": None}, RELEASED_ENTRY,
    ),
    "release the first attempt of a job that is due later": (
        a_job(State.RUNNING, sent=False, attempt=1, due_at=NOW + 9),
        lambda job: transitions.release(job, token="t", call=CALL, now=NOW),
        {"state": State.QUEUED, "attempt": 0, "due_at": NOW, "lease": None}, RELEASED_ENTRY,
    ),
    "interrupt, retried": (
        RUNNING, interrupt,
        {"state": State.QUEUED, "waiting_for": f"interrupted: {KILLED}", "waiting_error": ErrorType.INTERRUPTED,
         "interruptions": 1, "ambiguous": True, "cost_usd": 1.5, **IDLE},
        BROKEN_ENTRY,
    ),
    "interrupt, held": (
        a_job(State.RUNNING, on_interrupt=OnInterrupt.HOLD), interrupt,
        {"state": State.HELD, "waiting_for": f"held: {KILLED}", "waiting_error": ErrorType.INTERRUPTED,
         "interruptions": 1, "ambiguous": True, "cost_usd": 1.5, **IDLE},
        BROKEN_ENTRY,
    ),
    "interrupt, failed with the partial response": (
        a_job(State.RUNNING, on_interrupt=OnInterrupt.PARTIAL), interrupt,
        {"state": State.FAILED, "finished_at": NOW, "error_type": "interrupted", "error": KILLED, "response_length": 4,
         "usage": USED, "interruptions": 1, "ambiguous": True, "cost_usd": 1.5, **IDLE},
        BROKEN_ENTRY,
    ),
    "interrupt, too often, without a partial response": (
        a_job(State.RUNNING, interruptions=1, ambiguous=True), lambda job: interrupt(job, PartialResponse()),
        {"state": State.FAILED, "finished_at": NOW, "error_type": "interrupted", "error": KILLED, "interruptions": 2,
         "cost_usd": 1.25, **IDLE},
        {"ended_at": NOW, "sent": True, "outcome": "interrupted", "detail": "killed"},
    ),
    "interrupt, cancelled": (
        STOPPED, interrupt,
        {**CANCELLED, "response_length": 4, "usage": USED, "ambiguous": True, "cost_usd": 1.5, **IDLE}, BROKEN_ENTRY,
    ),
    "interrupt, cancelled before anything was sent": (
        a_job(State.RUNNING, sent=False, cancel_requested_at=5.0), lambda job: interrupt(job, PartialResponse()),
        {**CANCELLED, "cost_usd": 1.25, "lease": None}, {**RELEASED_ENTRY, "detail": "killed"},
    ),
    "interrupt, unsent": (
        a_job(State.RUNNING, sent=False, unsent=0),
        lambda job: interrupt(job, PartialResponse(first_byte_at=995.0, upstream_request_id="req_2")),
        {"state": State.QUEUED, "attempt": 1, "unsent": 1, "lease": None},
        {**RELEASED_ENTRY, "detail": "killed", "first_byte_at": 995.0, "upstream_request_id": "req_2"},
    ),
    "interrupt, unsent for the third time": (
        a_job(State.RUNNING, sent=False, unsent=2), lambda job: interrupt(job, PartialResponse()),
        {"state": State.QUEUED, "attempt": 1, "unsent": 3, "due_at": NOW + 3, "lease": None},
        {**RELEASED_ENTRY, "detail": "killed"},
    ),
    "cancel a running job": (RUNNING, lambda job: transitions.cancel(job, now=NOW), {"cancel_requested_at": NOW}, None),
    "cancel a waiting job": (QUEUED, lambda job: transitions.cancel(job, now=NOW), {**CANCELLED, **CLEAR}, None),
    "expire": (
        a_job(deadline_at=NOW), lambda job: transitions.expire(job, now=NOW),
        {"state": State.FAILED, "finished_at": NOW, "error_type": "deadline",
         "error": "the deadline passed before the call could be made (x)", **CLEAR}, None,
    ),
    "retry": (
        ENDED, lambda job: transitions.retry(job, policy=POLICY, now=NOW),
        {"state": State.QUEUED, "run": 2, "run_started_at": NOW, "attempt": 0, "failures": 0, "interruptions": 0,
         "unsent": 0, "ambiguous": False, "cancel_requested_at": None, "deadline_at": NOW + 86_400.0, "lane": "live",
         "deadline_asked": False, "deadline_fixed": False, "give_up_at": None, "finished_at": None, "error_type": None,
         "error": None, "response_length": 0, "usage": None, "cost_usd": None, "checks": None}, None,
    ),
    "retry with other models": (
        a_job(State.HELD), lambda job: transitions.retry(job, policy=POLICY, now=NOW, model="m", fallbacks=("n",)),
        {"state": State.QUEUED, "run": 2, "run_started_at": NOW, "attempt": 0, "failures": 0, "unsent": 0, "model": "m",
         "fallbacks": ("n",), "deadline_at": NOW + 86_400.0, "usage": None, "cost_usd": None, **CLEAR}, None,
    ),
    "leave a batch": (
        BATCHED, lambda job: batch_transitions.leave_batch(job, call=CALL, now=NOW, why="x"),
        {"state": State.QUEUED, "attempt": 1, "deadline_at": 2_040.0, "sent": False}, {**RELEASED_ENTRY, "detail": "x"},
    ),
    "leave a batch at the first attempt, to be called live": (
        a_job(State.BATCHED, attempt=1, sent=False, due_at=3.0),
        lambda job: batch_transitions.leave_batch(job, call=replace(CALL, sent=True), now=NOW, why="x", live=True),
        {"state": State.QUEUED, "attempt": 0, "deadline_at": 2_040.0, "lane": "live", "due_at": NOW},
        {**RELEASED_ENTRY, "detail": "x"},
    ),
    "an item that failed": (
        BATCHED, fail_item, {**AGAIN, "due_at": NOW + 1.5, "failures": 2, "deadline_at": 2_040.0, "sent": False},
        ERROR_ENTRY,
    ),
    "an item that only a live call can settle": (
        BATCHED, lambda job: fail_item(job, remedy=Remedy.FAIL, reason="pause_turn"),
        {**AGAIN, "lane": "live", "attempt": 1, "deadline_at": 2_040.0, "sent": False}, ERROR_ENTRY,
    ),
    "an item that failed for good": (
        BATCHED, lambda job: fail_item(job, remedy=Remedy.FAIL), {**FAILED, "deadline_at": 2_040.0, "sent": False},
        ERROR_ENTRY,
    ),
    "promote": (
        BATCHED, lambda job: batch_transitions.promote(job, call=CALL, now=NOW),
        {"state": State.QUEUED, "lane": "live", "deadline_at": 2_040.0, "sent": False},
        {"ended_at": NOW, "sent": True, "outcome": "given_up", "detail": "given up before Claude came to it"},
    ),
    "promote a job that may be paid for": (
        BATCHED, lambda job: batch_transitions.promote(job, call=CALL, now=NOW, paid=True),
        {"state": State.QUEUED, "lane": "live", "deadline_at": 2_040.0, "sent": False, "ambiguous": True},
        {"ended_at": NOW, "sent": True, "outcome": "given_up", "detail": "not back in time"},
    ),
    "promote a waiting job": (
        TO_BATCH, lambda job: batch_transitions.promote(job, call=None, now=NOW), {"lane": "live", **CLEAR}, None,
    ),
    "cancel in a batch": (
        BATCHED, lambda job: batch_transitions.end_in_batch(job, call=CALL, now=NOW),
        {**CANCELLED, "ambiguous": True, "sent": False},
        {"ended_at": NOW, "sent": True, "outcome": "cancelled", "detail": "the job was cancelled"},
    ),
    "a late result": (
        a_job(State.CANCELLED),
        lambda job: batch_transitions.record_late_cost(
            job, call=CALL, usage=USED, cost_usd=0.5, model="", now=NOW),
        {"cost_usd": 1.5},
        {"sent": True, "usage": USED, "cost_usd": 0.5, "detail": "its answer came too late and was paid for"},
    ),
    "a late result of an earlier run": (
        a_job(run=2),
        lambda job: batch_transitions.record_late_cost(
            job, call=replace(CALL, detail="given up"), usage=USED, cost_usd=0.5, model="n", now=NOW),
        {},
        {"sent": True, "usage": USED, "cost_usd": 0.5, "model": "n",
         "detail": "given up; its answer came too late and was paid for"},
    ),
    "reject": (QUEUED, lambda job: endings.reject(job, a_failure(), now=NOW), {**FAILED, **CLEAR}, None),
    "complete a sample": (
        QUEUED, lambda job: endings.complete_sample(job, "text", now=NOW),
        {"state": State.COMPLETED, "finished_at": NOW, "response_length": 4, "usage": {}, "cost_usd": 0.0, **CLEAR},
        None,
    ),
    "switch the model": (
        a_job(fallbacks=("m", "n"), due_at=NOW + 9),
        lambda job: fallback.switch_model(job, "m", why="overloaded", now=NOW),
        {"model": "m", "fallbacks": ("n",), "failures": 0, "due_at": NOW, **CLEAR}, None,
    ),
    "switch a retired model before the job is due": (
        a_job(fallbacks=("m",), due_at=NOW + 9),
        lambda job: fallback.switch_model(job, "m", why="retired", now=NOW),
        {"model": "m", "fallbacks": (), "failures": 0, **CLEAR}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_transition_changes_these_fields_and_no_others(name: str) -> None:
    """Counts, costs, times and the entry in the ledger follow the table; every other field is kept."""
    job, move, fields, entry = TABLE[name]
    change = move(job)

    assert _changed(job, change.job) == {"version": 4, "updated_at": NOW, **fields}
    assert (change.call and _changed(CALL, change.call)) == entry
    assert (change.expects, change.previous) == (3, job)


@pytest.mark.parametrize(
    ("job", "move", "fields", "mode"),
    [
        (QUEUED, lambda job: transitions.claim(job, lease=LEASE, now=NOW), {"state": State.RUNNING, "lease": LEASE},
         "live"),
        (TO_BATCH, lambda job: batch_transitions.enter_batch(job, worker="w", now=NOW), {"state": State.BATCHED},
         "batch"),
    ],
)  # fmt: skip
def test_a_start_counts_the_attempt_and_opens_an_entry(
    job: Job, move: Callable[[Job], Change], fields: dict[str, Any], mode: str
) -> None:
    """The moment a job is due is soon enough; the entry says that nothing was sent yet."""
    change = move(replace(job, sent=True))

    counted = {"version": 4, "updated_at": NOW, "calls": 5, "attempt": 3, **CLEAR, **fields}
    assert _changed(job, change.job) == counted
    assert change.call == Call(job_id="j", number=5, run=1, started_at=NOW, worker="w", model=job.model, mode=mode)
    with pytest.raises(IllegalTransition):
        move(replace(job, due_at=NOW + 0.1))


def test_a_followup_request_closes_one_entry_and_opens_another() -> None:
    """With the same reservation of its key's budget."""
    paused = RequestOutcome(outcome="paused", detail="d", cost_usd=0.5, usage=USED, text_length=4)
    change = transitions.continue_call(RUNNING, paused, token="t", call=CALL, now=NOW)

    assert _changed(RUNNING, change.job) == {"version": 4, "updated_at": NOW, "calls": 5, "cost_usd": 1.5}
    assert change.call is not None and _changed(CALL, change.call) == {
        "ended_at": NOW, "sent": True, "outcome": "paused", "detail": "d", "usage": USED, "cost_usd": 0.5,
        "text_length": 4,
    }  # fmt: skip
    assert change.next_call == Call(
        job_id="j", number=5, run=1, started_at=NOW, worker="w", model=RUNNING.model, sent=True, reserved_usd=0.1
    )

    named = replace(paused, model="n", upstream_request_id="req_2", first_byte_at=995.0)
    ended = transitions.continue_call(RUNNING, named, token="t", call=CALL, now=NOW).call
    assert ended is not None
    assert (ended.model, ended.upstream_request_id, ended.first_byte_at) == ("n", "req_2", 995.0)


def test_a_new_job_expects_no_row_and_is_ready_once_it_is_due() -> None:
    job = a_job(version=1)
    change = transitions.submit(job, now=NOW)

    assert (change.job, change.expects, change.previous, change.event.version) == (job, 0, None, 1)
    assert change.ready_now
    assert not transitions.submit(replace(job, due_at=NOW + 0.1), now=NOW).ready_now
    assert not transitions.cancel(job, now=NOW).ready_now


def test_the_mark_of_the_first_byte_needs_the_present_lease() -> None:
    mark = transitions.mark_sent(RUNNING, token="t", call=CALL)
    assert (mark.job_id, mark.call_number, mark.token) == ("j", 4, "t")

    for job in (QUEUED, replace(RUNNING, lease=replace(LEASE, token="newer"))):
        with pytest.raises(LeaseLost):
            transitions.mark_sent(job, token="t", call=CALL)


def test_an_interruption_is_recorded_under_the_present_lease_or_by_the_reaper() -> None:
    """A planned stop names its lease; the reaper, which has none, names no token."""
    with pytest.raises(LeaseLost):
        transitions.interrupt(RUNNING, HALF, call=CALL, why="x", policy=POLICY, now=NOW, chance=0.5, token="older")
    assert interrupt(RUNNING).job.interruptions == 1


@pytest.mark.parametrize("move", [endings.reject, lambda job, _, now: endings.complete_sample(job, "text", now=now)])
def test_only_a_waiting_job_is_ended_without_a_call(move: Callable[..., Change]) -> None:
    for state in State:
        if state is not State.QUEUED:
            with pytest.raises(IllegalTransition):
                move(a_job(state), a_failure(), now=NOW)


def test_a_late_text_of_an_earlier_attempt_counts_for_the_run() -> None:
    """Its tokens too, unless the last attempt has some of its own."""
    ended = fail(replace(RUNNING, usage=None), remedy=Remedy.FAIL)
    assert (with_partial(ended, HALF).job.response_length, with_partial(ended, HALF).job.usage) == (4, USED)

    ended = fail(RUNNING, remedy=Remedy.FAIL, usage={"input_tokens": 2})
    assert with_partial(ended, HALF).job.usage == {"input_tokens": 2}


def test_the_deadline_of_a_batched_job_never_moves_back() -> None:
    """Where the clock was set back since the batch was planned."""
    change = batch_transitions.promote(BATCHED, call=replace(CALL, started_at=NOW + 5), now=NOW)

    assert change.job.deadline_at == 2_000.0


def test_a_job_that_left_its_batch_for_a_live_call_carries_the_warning() -> None:
    for reason, warned in (("schema_refused", True), ("http_500", False)):
        assert ("warning" in fail_item(BATCHED, reason=reason).event.detail) is warned
    stopped = fail_item(replace(BATCHED, cancel_requested_at=1.0), reason="schema_refused")
    assert (stopped.job.state, stopped.job.lane, stopped.event.detail) == (State.CANCELLED, "batch", {})


def fell_back(failure: Failure, *throttled: str, **fields: Any) -> Change:
    job = a_job(State.RUNNING, **{"fallbacks": ("claude-opus-5-5", "claude-haiku-5-5"), **fields})
    change = transitions.fail(job, failure, token="t", call=CALL, policy=POLICY, now=NOW, chance=0.5)

    return fallback.fall_back(change, failure, throttled=throttled)


@pytest.mark.parametrize(
    ("kind", "fields", "throttled", "model"),
    [
        (ErrorType.REFUSED, {}, (), "claude-opus-5-5"),
        (ErrorType.REFUSED, {}, ("opus",), "claude-haiku-5-5"),
        (ErrorType.REFUSED, {}, ("opus", "haiku"), "claude-opus-5-5"),  # and waits for that family
        (ErrorType.OVERLOADED, {}, ("sonnet",), "claude-opus-5-5"),
        (ErrorType.RATE_LIMIT, {}, ("opus",), "claude-haiku-5-5"),
        (ErrorType.OVERLOADED, {}, ("opus", "haiku"), None),
        (ErrorType.REFUSED, {"partial": "half"}, (), None),
        (ErrorType.INVALID_REQUEST, {}, (), None),
    ],
)
def test_the_model_that_is_asked_after_a_final_failure(
    kind: ErrorType, fields: dict[str, Any], throttled: tuple[str, ...], model: str | None
) -> None:
    """The first of a family with capacity; an error that any model would have stays final."""
    change = fell_back(a_failure(kind, Remedy.FAIL, cost_usd=0.5, **fields), *throttled)

    assert change.job.state is (State.FAILED if model is None else State.QUEUED)
    assert change.job.model == (model or "claude-sonnet-5-5")
    assert change.job.cost_usd == 1.5
    if model is not None:
        why = "refused" if kind is ErrorType.REFUSED else "overloaded"
        assert change.event.detail == {"from": "claude-sonnet-5-5", "to": model, "why": why}


def test_a_job_without_fallbacks_and_one_that_is_retried_keep_their_model() -> None:
    refusal = a_failure(ErrorType.REFUSED, Remedy.FAIL)

    assert fell_back(refusal, fallbacks=()).job.state is State.FAILED
    assert fell_back(a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE)).job.model == "claude-sonnet-5-5"
    assert fell_back(replace(refusal, ambiguous=True)).job.ambiguous


@pytest.mark.parametrize("state", State)
def test_the_model_is_switched_only_while_the_job_waits(state: State) -> None:
    """Or as its call ends, which the caller says."""
    job = a_job(state)
    allowed = {False: (State.QUEUED, State.BATCHED), True: (State.RUNNING, State.BATCHED)}
    for running, states in allowed.items():
        if state in states:
            assert fallback.switch_model(job, "m", why="refused", now=NOW, running=running).job.model == "m"
        else:
            with pytest.raises(IllegalTransition):
                fallback.switch_model(job, "m", why="refused", now=NOW, running=running)


@pytest.mark.parametrize(
    ("due_at", "error", "waits"),
    [(NOW, None, True), (NOW + 1, None, False), (NOW + 1, ErrorType.OVERLOADED, True),
     (NOW + 1, ErrorType.UPSTREAM, False)],
)  # fmt: skip
def test_a_job_waits_for_its_family_when_nothing_else_holds_it(
    due_at: float, error: ErrorType | None, waits: bool
) -> None:
    assert fallback.waits_for_family(a_job(due_at=due_at, waiting_error=error), now=NOW) is waits


def _changed(before: object, after: object) -> dict[str, Any]:
    """The fields with another value, by name."""
    old = vars(before)
    return {name: value for name, value in vars(after).items() if value != old[name]}


@pytest.mark.parametrize(
    ("failure", "proves"),
    [
        (a_failure(ErrorType.INVALID_REQUEST), True),
        (a_failure(ErrorType.NOT_FOUND), True),
        (a_failure(ErrorType.RATE_LIMIT), True),
        (a_failure(ErrorType.RATE_LIMIT, sent=False), False),
        (a_failure(ErrorType.RATE_LIMIT, Remedy.PARK), False),
        (a_failure(ErrorType.TIMEOUT, usage=USED), True),
        (a_failure(ErrorType.BUDGET, Remedy.PARK, usage=USED), False),
        *((a_failure(kind), False) for kind in (ErrorType.UPSTREAM, ErrorType.OVERLOADED, ErrorType.TOO_LARGE)),
    ],
)
def test_the_failures_that_prove_that_the_key_works(failure: Failure, proves: bool) -> None:
    """They end a park: the request or its rate limit was checked, or Claude had begun to write."""
    assert failure.shows_the_key_works is proves


@pytest.mark.parametrize(
    ("reason", "truncated"),
    [("max_tokens", True), ("model_context_window_exceeded", True), ("end_turn", False), ("stop_sequence", False)],
)
def test_an_answer_cut_at_a_limit_is_truncated(reason: str, truncated: bool) -> None:
    assert a_completion(stop_reason=reason).truncated is truncated


def test_a_fault_of_the_relay_keeps_the_text_and_the_cost_of_the_answer() -> None:
    """It may have to be paid for all the same."""
    answer = a_completion("Svar", cost_usd=0.5, upstream_request_id="req_2", first_byte_at=995.0, last_usage=USED)
    failure = relay_fault("store the answer", answer=answer)

    assert (failure.type, failure.remedy, failure.sent, failure.reason) == (
        ErrorType.INTERNAL, Remedy.FAIL, True, "fault",
    )  # fmt: skip
    assert (failure.partial, failure.cost_usd, failure.last_usage) == ("Svar", 0.5, USED)
    assert (failure.upstream_request_id, failure.first_byte_at) == ("req_2", 995.0)
    assert (failure.model, failure.usage) == (answer.model, answer.usage)


def test_a_priority_is_a_head_start_and_no_more() -> None:
    """A job with a priority of ten seconds is before those that were due up to ten seconds sooner."""
    assert a_job(due_at=NOW, priority=10.0).rank == NOW - 10
    assert str(a_job(collection="t", group="g").flow) == "admin/t/g/sonnet"
    assert a_job().flow.collection == ""
