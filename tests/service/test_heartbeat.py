"""Lease renewal and lost leases while calls run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from claude_relay.core.jobs.failure import Failure
from claude_relay.core.jobs.job import State
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import ClaimedJob, Relay
from claude_relay.worker.executor import CallExecutor
from claude_relay.worker.files import Files
from claude_relay.worker.heartbeat import Heartbeat
from claude_relay.worker.inflight import InFlightCalls
from claude_relay.worker.pacing import Pacing
from tests.support.builders import Clock, a_completion, a_submission
from tests.support.eventually import eventually


@contextmanager
def beating(relay: Relay, in_flight: InFlightCalls) -> Iterator[None]:
    report = WorkerHeartbeat(id="w", host="h", pid=1, started_at=0.0, seen_at=0.0, slots=2, running=2)
    heartbeat = Heartbeat(relay, in_flight, report=lambda: report, worker="w", lease=0.1)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()


def two_claimed(relay: Relay) -> tuple[ClaimedJob, ClaimedJob]:
    relay.submit_many([a_submission("a"), a_submission("b")])
    first, second = sorted(relay.execution.claim("w", limit=2), key=lambda each: each.job.request_id)
    relay.execution.sending(first)
    return first, second


def taken_over(relay: Relay, claimed: ClaimedJob) -> ClaimedJob:
    relay.execution.reap(claimed.job.id, claimed.token, why="its lease ran out")
    [reclaimed] = relay.execution.claim("other", limit=1)
    return reclaimed


def test_a_lost_lease_is_marked_and_the_others_are_renewed(relay: Relay, clock: Clock) -> None:
    in_flight = InFlightCalls()
    lost, kept = (in_flight.add(claimed, Pacing().start("sonnet")) for claimed in two_claimed(relay))
    taken_over(relay, lost.claimed)
    clock.advance(10)
    with beating(relay, in_flight):
        eventually(lost.lost.is_set)
        assert not kept.lost.is_set()

    leases = {job.request_id: job.lease for job in relay.execution.running() if job.lease is not None}
    assert leases["b"].expires_at == clock() + relay.policy.lease
    assert leases["a"].worker == "other"


class WritesUntilStopped:
    """Streams until stopped: each event checks for a stop."""

    def call(self, prompt: Any, *, stop: Any, **_: Any) -> Failure:
        eventually(lambda: stop() is not None)
        end: Failure = stop()
        return end


def test_a_call_whose_job_another_worker_has_is_stopped_and_writes_nothing(relay: Relay) -> None:
    """Its tokens would be paid for nothing; the answer of the other worker is the job's."""
    in_flight = InFlightCalls()
    running = in_flight.add(two_claimed(relay)[0], Pacing().start("sonnet"))
    reclaimed = taken_over(relay, running.claimed)
    executor = CallExecutor(
        relay,
        WritesUntilStopped(),  # type: ignore[arg-type]
        Files(relay, None),  # type: ignore[arg-type]
        ending=threading.Event(),
    )
    with beating(relay, in_flight):
        assert executor.run(running) is None

    assert relay.execution.complete(reclaimed, a_completion("theirs")).state is State.COMPLETED
