"""Sums of the ledger by day, keys that suddenly spend much, and a running job rebuilt from its ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core import damage
from claude_relay.core.jobs.change import Call
from claude_relay.core.jobs.events import Event, EventName
from claude_relay.core.jobs.job import Job, OnInterrupt, State
from claude_relay.core.money.runaway import runaways
from claude_relay.core.money.spend import Span, SpendSummary, day_of, next_day, spend_days, summarize

DAY = 86_400.0
CALL = Call(job_id="j", number=1, run=1, started_at=10.0, worker="w", model="m", sent=True, outcome="completed")
USAGE = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"usage": USAGE, "cost_usd": 0.5}, {"calls": 1, "usd": 0.5, "input_tokens": 1, "output_tokens": 2,
                                             "cache_read_tokens": 3, "cache_write_tokens": 4}),
        ({"usage": USAGE}, {"calls": 1, "unpriced": 1, "input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3,
                            "cache_write_tokens": 4}),
        ({"outcome": "interrupted"}, {"calls": 1, "unpriced": 1}),
        ({"outcome": "timeout"}, {"calls": 1, "unpriced": 1}),
        ({"outcome": "rate_limit"}, {"calls": 1}),
        ({"outcome": "timeout", "cost_usd": 0.0}, {"calls": 1, "usd": 0.0}),
        ({"outcome": "timeout", "sent": False}, {"calls": 0}),
    ],
)  # fmt: skip
def test_what_an_attempt_adds_to_the_sums(fields: dict[str, Any], counted: dict[str, Any]) -> None:
    """An attempt of unknown cost is counted as such, where something may have been paid."""
    assert spend_days(replace(CALL, **fields)) == SpendSummary(name="m", ended=1, **counted)


def test_a_sum_has_a_cost_if_one_of_its_parts_has() -> None:
    rows = [spend_days(replace(CALL, usage=USAGE, cost_usd=cost)) for cost in (0.5, None, 0.25)]
    total = summarize("day", rows)

    assert (total.name, total.calls, total.ended, total.unpriced, total.input_tokens) == ("day", 3, 3, 1, 3)
    assert total.cost_usd == 0.75
    assert (summarize("x", rows[1:2]).cost_usd, summarize("x", []).cost_usd) == (None, 0.0)


def test_days_are_those_of_utc() -> None:
    assert (day_of(0.0), day_of(DAY - 0.1), day_of(DAY)) == ("1970-01-01", "1970-01-01", "1970-01-02")
    assert (next_day(0.0), next_day(DAY - 1), next_day(DAY)) == (DAY, DAY, 2 * DAY)


def test_a_span_has_the_days_that_it_touches() -> None:
    """One that ends at midnight does not touch the day that begins then."""
    span = Span.between(DAY, 3 * DAY)

    days = [day_of(number * DAY) for number in range(5)]
    assert [day in span for day in days] == [False, True, True, False, False]
    assert all(day in Span.between(None, None) for day in days)
    assert (days[0] in Span.between(None, DAY), days[1] in Span.between(None, DAY)) == (True, False)


def test_a_key_that_spends_more_in_a_day_than_in_a_week_is_listed_the_largest_first() -> None:
    today = {"a": 5.0, "b": 90.0, "new": 99.0, "usual": 70.0, "bounded": 80.0, "small": 4.99, "even": 40.0}
    week = {"a": 1.0, "b": 20.0, "usual": 300.0, "bounded": 1.0, "small": 0.001, "even": 40.0}
    listed = runaways(today, week, budgeted={"bounded"})

    assert [(each.key, each.today_usd, each.week_usd) for each in listed] == [("b", 90.0, 20.0), ("a", 5.0, 1.0)]


DAMAGED = Job(
    id="j", owner="admin", request_id="r", body_hash="h", state=State.QUEUED, version=1, created_at=0.0, updated_at=0.0,
    due_at=0.0,
)  # fmt: skip
OPENED = replace(CALL, number=4, run=2, started_at=40.0, outcome=None)
LEDGER = [replace(CALL, cost_usd=1.0), replace(CALL, number=2, run=2, started_at=20.0, cost_usd=0.5),
          replace(CALL, number=3, run=2, started_at=30.0, cost_usd=0.25), OPENED]  # fmt: skip


def moves(*names: EventName) -> list[Event]:
    jobs = [Event(job_id="j", subject="job", version=n, at=float(n), name=name) for n, name in enumerate(names, 1)]
    return [*jobs, Event(job_id="j", subject="delivery-1", version=9, at=99.0, name=EventName.DELIVERED)]


STARTED = (EventName.SUBMITTED, EventName.CLAIMED)


def test_a_running_job_whose_row_is_damaged_is_rebuilt_and_not_called_again() -> None:
    """Its cost is that of the present run; the call may have to be paid for."""
    job = damage.rebuilt(DAMAGED, LEDGER, moves(*STARTED))

    assert job is not None and job.lease is not None
    assert (job.state, job.version, job.created_at, job.updated_at, job.due_at) == (State.RUNNING, 2, 1.0, 2.0, 40.0)
    assert (job.run, job.run_started_at, job.calls, job.model, job.cost_usd) == (2, 20.0, 4, "m", 0.75)
    assert (job.sent, job.ambiguous, job.on_interrupt) == (True, True, OnInterrupt.PARTIAL)
    assert (job.lease.worker, job.lease.expires_at, job.cancel_requested_at) == ("w", 2.0, None)

    stopped = damage.rebuilt(DAMAGED, LEDGER, moves(*STARTED, EventName.CANCEL_REQUESTED))
    assert stopped is not None and stopped.cancel_requested_at == 3.0


@pytest.mark.parametrize(
    ("calls", "events"),
    [
        ([], moves(*STARTED)),
        (LEDGER, moves()),
        ([replace(OPENED, outcome="completed")], moves(*STARTED)),
        ([replace(OPENED, mode="batch")], moves(*STARTED)),
    ],
)
def test_without_an_open_live_call_nothing_is_rebuilt(calls: list[Call], events: list[Event]) -> None:
    assert damage.rebuilt(DAMAGED, calls, events) is None


def test_the_note_of_damage_keeps_the_first_case_and_counts_the_others() -> None:
    first = damage.add(None, "the row of job r", now=5.0)
    assert first == {"since": 5.0, "what": "the row of job r", "count": 1}
    assert damage.add(first, "another", now=9.0) == {**first, "count": 2}
    assert damage.add({"since": 1.0}, "another", now=9.0)["count"] == 1
