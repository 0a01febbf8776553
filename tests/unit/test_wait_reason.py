"""`waitingFor`: the reason why a job is not running, from holds and the stored error."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.batches import Batch, BatchState
from claude_relay.core.jobs import fallback, holds
from claude_relay.core.jobs.failure import ErrorType
from claude_relay.core.jobs.holds import Holds, HoldScope, QueueHold
from claude_relay.core.jobs.job import Job, State
from claude_relay.core.jobs.wait_reason import wait_reason, with_many_ahead

NOW = 1_800_000_000.0


def a_job(**fields: Any) -> Job:
    values: dict[str, Any] = dict(
        id="1",
        owner="o",
        request_id="r",
        body_hash="",
        state=State.QUEUED,
        version=1,
        created_at=NOW,
        updated_at=NOW,
        due_at=NOW,
        model="claude-opus-5-5",
    )
    return Job(**(values | fields))


def reason(job: Job, *rows: QueueHold, **given: Any) -> str | None:
    return wait_reason(
        job, **{"now": NOW, "holds": Holds(rows, NOW), "group_paused": False, "group_full": False, **given}
    )


def a_hold(scope: HoldScope, until: float | None = None) -> QueueHold:
    return QueueHold(scope=scope, reason=f"because of {scope}", since=NOW - 10, until=until)


def test_a_due_job_without_holds_waits_for_a_slot_only() -> None:
    assert reason(a_job()) is None


@pytest.mark.parametrize("scope", [holds.PAUSE, holds.PARK, holds.UNREACHABLE, HoldScope.family("opus")])
def test_each_hold_in_force_is_the_reason(scope: HoldScope) -> None:
    assert str(reason(a_job(), a_hold(scope, NOW + 60))).startswith(f"because of {scope} until 20")


def test_a_family_hold_that_has_run_out_is_none() -> None:
    assert reason(a_job(), a_hold(HoldScope.family("opus"), NOW)) is None


def test_a_throttle_is_known_by_the_stored_error_and_not_by_the_text() -> None:
    text = "overloaded: busy"
    throttled = a_job(due_at=NOW + 60, waiting_for=text, waiting_error=ErrorType.OVERLOADED)
    other = a_job(due_at=NOW + 60, waiting_for=text, waiting_error=ErrorType.UPSTREAM)

    assert reason(throttled) == "overloaded until 2027-01-15T08:01:00Z"
    assert reason(other) == "due 08:01 (overloaded: busy)"
    assert fallback.waits_for_family(throttled, now=NOW) and not fallback.waits_for_family(other, now=NOW)


FAMILY = HoldScope.family("opus")


@pytest.mark.parametrize(
    ("until", "shown"), [(NOW + 120, "08:02"), (NOW + 30, "08:01"), (NOW, "08:01"), (None, "08:01")]
)
def test_a_throttled_job_waits_for_the_later_of_its_time_and_its_familys(until: float | None, shown: str) -> None:
    job = a_job(due_at=NOW + 60, waiting_error=ErrorType.RATE_LIMIT)

    assert reason(job, a_hold(FAMILY, until)) == f"rate_limit until 2027-01-15T{shown}:00Z"


@pytest.mark.parametrize(
    ("job", "given", "text"),
    [
        (a_job(due_at=NOW + 60), {}, "due 08:01"),
        (a_job(due_at=NOW + 86_400), {}, "due 2027-01-16 08:00"),
        (a_job(due_at=NOW + 60, waiting_for="upstream: busy"), {}, "due 08:01 (upstream: busy)"),
        (a_job(), {"group_full": True}, "concurrency"),
        (a_job(), {"group_full": True, "budget": "spent"}, "spent"),
        (a_job(), {"group_paused": True, "budget": "spent"}, "group paused"),
        (a_job(lane="batch"), {}, "batch: gathering"),
        (a_job(lane="batch"), {"budget": "spent"}, "spent"),
        (a_job(state=State.HELD), {}, "held"),
        (a_job(state=State.HELD, waiting_for="held: the call was interrupted"), {}, "held: the call was interrupted"),
        *((a_job(state=state), {"budget": "spent"}, None) for state in (State.RUNNING, State.COMPLETED)),
    ],
)
def test_the_first_reason_that_applies(job: Job, given: dict[str, Any], text: str | None) -> None:
    assert reason(job, **given) == text


def test_a_job_for_a_batch_waits_while_batches_are_refused() -> None:
    """And no job of a throttled family waits for that: a batch has limits of its own."""
    assert reason(a_job(lane="batch"), a_hold(holds.BATCHES, NOW + 60)) == (
        "batch: because of batches until 2027-01-15T08:01:00Z"
    )
    assert reason(a_job(lane="batch"), a_hold(FAMILY, NOW + 60)) == "batch: gathering"
    assert reason(a_job(), a_hold(FAMILY, NOW + 60)) == "because of family:opus until 2027-01-15T08:01:00Z"
    assert reason(a_job(), a_hold(holds.PAUSE)) == "because of pause"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (BatchState.PLANNED, "batch: gathering"),
        (BatchState.CREATING, "batch: being sent"),
        (BatchState.CREATED, "batch: with Claude since 07:58"),
        (BatchState.ENDED, "batch: reading its results"),
        (BatchState.SETTLED, "batch: reading its results"),
        (None, "batch: gathering"),
    ],
)
def test_a_job_in_a_batch_says_how_far_it_is(state: BatchState | None, text: str) -> None:
    batch = state and Batch(
        id="b", state=state, version=1, planned_at=NOW - 300, count=1, next_at=NOW, sent_at=NOW - 120
    )
    assert reason(a_job(state=State.BATCHED), batch=batch) == text


def test_places_beyond_the_counted_ones_are_a_number_too() -> None:
    assert with_many_ahead(None) == "more than 1,000 ahead"
    assert with_many_ahead("concurrency") == "concurrency; more than 1,000 ahead"
