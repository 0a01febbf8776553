"""The note of damaged content, and a running job rebuilt from its ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_relay.core import damage
from claude_relay.core.jobs.change import Call
from claude_relay.core.jobs.events import Event, EventName
from claude_relay.core.jobs.job import Job, OnInterrupt, State

JOB = Job(
    id="j", owner="admin", request_id="r-1", body_hash="h", state=State.QUEUED, version=1, created_at=0.0,
    updated_at=0.0, due_at=0.0,
)  # fmt: skip
EVENTS = [
    Event(job_id="j", subject="job", version=1, at=10.0, name=EventName.SUBMITTED),
    Event(job_id="j", subject="file:0", version=9, at=11.0, name=EventName.SUBMITTED),
    Event(job_id="j", subject="job", version=4, at=40.0, name=EventName.CLAIMED),
    Event(job_id="j", subject="ack:1", version=8, at=50.0, name=EventName.SUBMITTED),
]
CALLS = [
    Call(job_id="j", number=1, run=1, started_at=15.0, worker="v", outcome="completed", cost_usd=9.0),
    Call(job_id="j", number=2, run=2, started_at=20.0, worker="w", outcome="overloaded", cost_usd=0.5),
    Call(job_id="j", number=3, run=2, started_at=25.0, worker="w", outcome="overloaded", cost_usd=0.25),
    Call(job_id="j", number=4, run=2, started_at=30.0, worker="w", model="claude-opus-5-5"),
]


def test_the_note_keeps_the_first_case_and_counts_the_others() -> None:
    """Also one that an earlier version wrote without a number."""
    first = damage.add(None, "the prompt of job r-1", now=5.0)
    assert first == {"since": 5.0, "what": "the prompt of job r-1", "count": 1}
    assert damage.add(first, "another", now=9.0) == {**first, "count": 2}
    assert damage.add({"since": 1.0, "what": "x"}, "y", now=2.0)["count"] == 1


def test_a_running_job_is_rebuilt_from_its_calls_and_events() -> None:
    """Its times are those of its events, its cost that of the earlier calls of the run; it is not repeated."""
    job = damage.rebuilt(JOB, CALLS, EVENTS)

    assert job is not None and job.lease is not None
    assert (job.state, job.version, job.on_interrupt) == (State.RUNNING, 4, OnInterrupt.PARTIAL)
    assert (job.created_at, job.updated_at, job.due_at, job.run_started_at) == (10.0, 40.0, 30.0, 20.0)
    assert (job.run, job.calls, job.model, job.cost_usd) == (2, 4, "claude-opus-5-5", 0.75)
    assert (job.sent, job.ambiguous, job.cancel_requested_at) == (True, True, None)
    assert (job.lease.worker, job.lease.token, job.lease.expires_at) == ("w", "w", 40.0)


def test_a_cancel_that_was_asked_for_is_kept() -> None:
    asked = Event(job_id="j", subject="job", version=5, at=45.0, name=EventName.CANCEL_REQUESTED)
    job = damage.rebuilt(JOB, CALLS, [*EVENTS, asked])

    assert job is not None and (job.cancel_requested_at, job.version) == (45.0, 5)


@pytest.mark.parametrize(
    ("calls", "events"),
    [
        (CALLS, EVENTS[1:2]),
        ([], EVENTS),
        (CALLS[:3], EVENTS),
        ([replace(CALLS[3], mode="batch")], EVENTS),
    ],
)
def test_without_an_open_live_call_a_job_is_not_rebuilt(calls: list[Call], events: list[Event]) -> None:
    """Nothing of it may be running."""
    assert damage.rebuilt(JOB, calls, events) is None
