"""Drain before maintenance: no new jobs, and idle once nothing runs and no callback is due."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.policy import Policy
from claude_relay.errors import Draining
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.admission import Admission
from tests.support.builders import Clock, a_completion, a_submission


def drain_of(relay: Relay) -> dict[str, Any]:
    body: dict[str, Any] = relay.queries.overview()["drain"]
    return body


def test_a_drained_relay_refuses_new_jobs_and_starts_no_more_calls(relay: Relay, clock: Clock) -> None:
    """CASES A15: 503 with Retry-After; a repeated request still gets its job; after `resume` all goes on."""
    relay.submit(a_submission("r-1"))
    relay.drain()

    with pytest.raises(Draining, match="maintenance") as caught:
        relay.submit(a_submission("r-2"))
    assert (caught.value.status, caught.value.retry_after) == (503, 30.0)
    assert relay.submit(a_submission("r-1")).duplicate
    assert relay.execution.claim("w", limit=1) == []
    assert relay.queries.status(JobRef(request_id="r-1"))["waitingFor"] == "draining"
    assert "takes no new jobs" in str(relay.queries.readiness_problems()[-1])
    assert len([problem for problem in relay.queries.readiness_problems() if problem.field == "queue"]) == 1

    relay.resume()
    assert drain_of(relay) is None
    relay.submit(a_submission("r-2"))
    assert len(relay.execution.claim("w", limit=2)) == 2


def test_a_relay_is_idle_once_no_call_runs_and_no_callback_is_due(relay: Relay, clock: Clock) -> None:
    """CASES A15: a callback that is retried later, and a job that waits, do not hold it up."""
    relay.submit(a_submission("r-1"))
    relay.submit(a_submission("r-2"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.drain()
    clock.advance(10)
    assert (drain_of(relay)["running"], drain_of(relay)["idle"]) == (1, False)

    relay.execution.complete(claimed, a_completion())
    assert (drain_of(relay)["running"], drain_of(relay)["destinationsDue"], drain_of(relay)["idle"]) == (0, 1, False)
    clock.advance(2)
    [delivery] = relay.deliveries.claim("w", limit=1)
    assert not drain_of(relay)["idle"]
    relay.deliveries.record_attempt(delivery, Reply(status=500))

    assert drain_of(relay)["idle"]
    assert drain_of(relay)["waiting"] == 1


def test_a_relay_is_idle_no_sooner_than_every_process_refuses(relay: Relay, store: Store, clock: Clock) -> None:
    """CASES A15: another API process looks at the queue once a second."""
    times = [0.0]
    other = Admission(store, Policy(), clock=lambda: times[0])
    assert other.refusal(1, "admin") is None
    relay.drain()
    assert other.refusal(1, "admin") is None
    assert not drain_of(relay)["idle"]

    times[0] += 1.0
    clock.advance(2)
    assert isinstance(other.refusal(1, "admin"), Draining)
    assert drain_of(relay)["idle"]


def test_a_drain_of_all_runs_the_jobs_that_wait(relay: Relay, clock: Clock) -> None:
    """CASES A15: `drain --all`, also after a drain that stopped the queue."""
    relay.submit(a_submission("r-1", webhook_url=None))
    relay.drain()
    relay.drain(run_waiting=True)
    clock.advance(10)
    assert not drain_of(relay)["idle"]

    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.complete(claimed, a_completion())
    assert drain_of(relay)["idle"]
