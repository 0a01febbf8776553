"""`waitingFor`: the reason why a job is not running, from holds and the stored error."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.jobs import fallback, holds
from claude_relay.core.jobs.failure import ErrorType
from claude_relay.core.jobs.holds import Holds, HoldScope, QueueHold
from claude_relay.core.jobs.job import Job, State
from claude_relay.core.jobs.wait_reason import wait_reason

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


def reason(job: Job, *rows: QueueHold) -> str | None:
    return wait_reason(job, now=NOW, holds=Holds(rows, NOW), group_paused=False, group_full=False)


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

    assert str(reason(throttled)).startswith("overloaded until 20")
    assert str(reason(other)).startswith("due ")
    assert fallback.waits_for_family(throttled, now=NOW) and not fallback.waits_for_family(other, now=NOW)
