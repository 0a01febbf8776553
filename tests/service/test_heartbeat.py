"""What a worker hears while its calls run: that a lease holds on, or that another worker has the job by now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from claude_relay.core.jobs.failure import Failure
from claude_relay.core.jobs.job import State
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import Relay
from claude_relay.services.context import ClaimedJob
from claude_relay.worker.executor import CallExecutor
from claude_relay.worker.files import Files
from claude_relay.worker.heartbeat import Heartbeat
from claude_relay.worker.inflight import InFlightCalls
from claude_relay.worker.pacing import Pacing
from tests.support.builders import Clock, a_completion, a_submission
from tests.support.eventually import eventually


@contextmanager
def beating(relay: Relay, in_hand: InFlightCalls) -> Iterator[None]:
    report = WorkerHeartbeat(id="w", host="h", pid=1, started_at=0.0, seen_at=0.0, slots=2, running=2)
    heart = Heartbeat(relay, in_hand, report=lambda: report, worker="w", lease=0.1)
    heart.start()
    try:
        yield
    finally:
        heart.stop()


def two(relay: Relay) -> tuple[ClaimedJob, ClaimedJob]:
    relay.submit_many([a_submission("a"), a_submission("b")])
    one, other = sorted(relay.execution.claim("w", limit=2), key=lambda each: each.job.request_id)
    relay.execution.sending(one)
    return one, other


def taken_over(relay: Relay, claimed: ClaimedJob) -> ClaimedJob:
    relay.execution.reap(claimed.job.id, claimed.token, why="its lease ran out")
    [again] = relay.execution.claim("other", limit=1)
    return again


def test_who_has_lost_a_job_hears_it_and_keeps_the_others(relay: Relay, clock: Clock) -> None:
    in_hand = InFlightCalls()
    lost, kept = (in_hand.add(claimed) for claimed in two(relay))
    taken_over(relay, lost.claimed)
    clock.advance(10)
    with beating(relay, in_hand):
        eventually(lost.lost.is_set)
        assert not kept.lost.is_set()

    leases = {job.request_id: job.lease for job in relay.execution.running() if job.lease is not None}
    assert leases["b"].expires_at == clock() + relay.policy.lease
    assert leases["a"].worker == "other"


class WritesUntilStopped:
    """Streams on and on: each event asks whether to stop."""

    def call(self, prompt: Any, *, stop: Any, sending: Any, progress: Any, going_on: Any) -> Failure:
        eventually(lambda: stop() is not None)
        end: Failure = stop()
        return end


def test_a_call_whose_job_another_worker_has_is_stopped_and_writes_nothing(relay: Relay) -> None:
    """Its tokens would be paid for nothing; the other one's answer is the job's."""
    in_hand = InFlightCalls()
    running = in_hand.add(two(relay)[0])
    again = taken_over(relay, running.claimed)
    caller = CallExecutor(
        relay,
        WritesUntilStopped(),  # type: ignore[arg-type]
        Files(relay, None),  # type: ignore[arg-type]
        pacing=Pacing(),
        ending=threading.Event(),
    )
    with beating(relay, in_hand):
        assert caller.run(running) is None

    assert relay.execution.complete(again, a_completion("theirs")).state is State.COMPLETED
