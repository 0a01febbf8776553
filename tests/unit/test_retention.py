"""Cut-offs and eligibility by time."""

from __future__ import annotations

import pytest

from claude_relay.core.deliveries.delivery import DeliveryState
from claude_relay.core.deliveries.reply_text import describe_reply
from claude_relay.core.jobs.job import State
from claude_relay.core.retention import DeadlineExtension, PurgeCutoffs, upload_usable_after

CUTOFFS = PurgeCutoffs(done_before=200.0, failed_before=100.0)


@pytest.mark.parametrize(
    ("state", "finished_at", "delivery", "delivered_at", "purgeable"),
    [
        (State.COMPLETED, 200.0, None, None, True),
        (State.COMPLETED, 201.0, None, None, False),
        (State.FAILED, 101.0, None, None, False),
        (State.CANCELLED, 100.0, None, None, True),
        (State.COMPLETED, 150.0, DeliveryState.DELIVERED, 200.0, True),
        (State.COMPLETED, 150.0, DeliveryState.DELIVERED, 201.0, False),  # retention runs from the delivery
        (State.COMPLETED, 50.0, DeliveryState.DEAD, 101.0, False),  # its result has not arrived yet
        (State.COMPLETED, 50.0, DeliveryState.DEAD, 100.0, True),
        (State.COMPLETED, 1.0, DeliveryState.PENDING, None, False),
        (State.COMPLETED, 1.0, DeliveryState.SENDING, None, False),
    ],
)
def test_retention_depends_on_how_a_job_ended(
    state: State, finished_at: float, delivery: DeliveryState | None, delivered_at: float | None, purgeable: bool
) -> None:
    assert purgeable == CUTOFFS.is_purgeable(
        state, finished_at=finished_at, delivery=delivery, delivered_at=delivered_at
    )


def test_a_run_gets_the_time_back_in_which_it_waited() -> None:
    extension = DeadlineExtension(since=100.0, until=160.0)

    assert [extension.seconds_for(start) for start in (50.0, 100.0, 130.0, 160.0, 200.0)] == [
        60.0,
        60.0,
        30.0,
        0.0,
        0.0,
    ]
    assert DeadlineExtension(since=160.0, until=100.0).seconds == 0.0


def test_an_upload_must_outlive_the_start_of_a_call() -> None:
    assert upload_usable_after(1000.0) == 1900.0


def test_a_reply_is_described_by_its_status_or_its_error() -> None:
    assert describe_reply(403, None) == "it answered 403"
    assert (describe_reply(None, "no connection"), describe_reply(None, None)) == ("no connection", None)
