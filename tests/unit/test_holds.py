"""Queue holds: scopes, their stored form, and what each one stops."""

from __future__ import annotations

import pytest

from claude_relay.core.jobs import holds
from claude_relay.core.jobs.holds import HoldKind, Holds, HoldScope, QueueHold
from claude_relay.core.jobs.job import Job, State

NOW = 1000.0


def a_hold(scope: HoldScope, until: float | None = None) -> QueueHold:
    return QueueHold(scope=scope, reason="x", since=NOW - 10, until=until)


def a_job(model: str = "claude-opus-5-5") -> Job:
    return Job(
        id="1",
        owner="o",
        request_id="r",
        body_hash="",
        state=State.QUEUED,
        version=1,
        created_at=0,
        updated_at=0,
        due_at=0,
        model=model,
    )


@pytest.mark.parametrize(
    "text",
    [
        "pause",
        "park",
        "unreachable",
        "batches",
        "family:opus",
        "budget:a:b",
        "budget:",
        "drain",
        "destination:https://h",
    ],
)
def test_the_stored_form_of_a_scope_round_trips(text: str) -> None:
    assert str(HoldScope.parse(text)) == text


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError):
        HoldScope.parse("queue")


@pytest.mark.parametrize("scope", [holds.PAUSE, holds.PARK, holds.UNREACHABLE])
def test_a_hold_of_everything_stops_live_jobs_and_batches(scope: HoldScope) -> None:
    current = Holds([a_hold(scope, NOW + 1)], NOW)
    assert current.blocks_all and current.blocks_batches and current.blocks_live(a_job())


def test_a_hold_without_an_end_stays_in_force() -> None:
    assert Holds([a_hold(holds.PAUSE)], NOW).blocks_all


@pytest.mark.parametrize("scope", [holds.PARK, holds.UNREACHABLE])
def test_a_hold_that_has_run_out_lets_one_probe_through(scope: HoldScope) -> None:
    current = Holds([a_hold(scope, NOW)], NOW)
    assert current.probe_only and not current.blocks_all


def test_throttled_batches_do_not_stop_live_jobs() -> None:
    current = Holds([a_hold(holds.BATCHES, NOW + 1)], NOW)
    assert current.blocks_batches and not current.blocks_live(a_job())


def test_a_throttled_family_stops_its_own_jobs_only() -> None:
    current = Holds([a_hold(HoldScope.family("opus"), NOW + 1), a_hold(HoldScope.family("haiku"), NOW)], NOW)
    assert current.throttled_families == {"opus"}
    assert current.blocks_live(a_job()) and not current.blocks_live(a_job("claude-haiku-5"))
    assert not current.blocks_batches


def test_a_park_is_listed_and_queue_wide_while_it_is_probed() -> None:
    rows = [a_hold(holds.PARK, NOW - 1), a_hold(holds.UNREACHABLE, NOW - 1), a_hold(HoldScope.budget("k"), NOW + 1)]
    current = Holds(rows, NOW)
    assert [hold.scope for hold in current.listed] == [holds.PARK, HoldScope.budget("k")]
    assert [hold.scope for hold in current.queue_wide] == [holds.PARK]
    assert list(current.of_kind(HoldKind.BUDGET)) == ["k"]


def test_each_scope_with_a_name_is_of_its_kind() -> None:
    scopes = (HoldScope.family("opus"), HoldScope.budget("make"), HoldScope.destination("https://h"))

    assert [str(scope) for scope in scopes] == ["family:opus", "budget:make", "destination:https://h"]


def test_a_draining_queue_starts_its_jobs_and_says_so() -> None:
    """A drain refuses new jobs only."""
    current = Holds([a_hold(holds.DRAIN)], NOW)

    assert current.draining and not current.blocks_all and not current.blocks_live(a_job())
    assert not Holds([], NOW).draining


def test_a_row_that_has_run_out_is_kept_until_a_probe_succeeds() -> None:
    row = a_hold(holds.UNREACHABLE, NOW)
    current = Holds([row], NOW)

    assert (current.get(holds.UNREACHABLE), current.in_force(holds.UNREACHABLE)) == (row, None)
    assert current.get(holds.PAUSE) is None
