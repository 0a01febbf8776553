"""Drain before maintenance: no new jobs, and idle once nothing runs and no callback is due."""

from __future__ import annotations

import random
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.deliveries.destination import Destination
from claude_relay.core.policy import Policy
from claude_relay.errors import Draining
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.admission import Admission
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission


def drain_of(relay: Relay) -> dict[str, Any]:
    body: dict[str, Any] = relay.queries.overview()["drain"]
    return body


def answer(relay: Relay, url: str) -> None:
    """A call that has just ended, whose callback goes there."""
    relay.submit(a_submission(webhook_url=url))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.complete(claimed, a_completion())


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


def test_only_callbacks_that_are_sent_within_two_seconds_are_waited_for(
    relay: Relay, store: Store, clock: Clock
) -> None:
    """CASES A15: none that is retried later, and none to a receiver that is paused, or slowed down for longer."""
    for host in ("soon", "paused", "failing", "recovers"):
        answer(relay, f"https://{host}.example/x")
    for host, later in (("soon", 1.0), ("failing", 2.01), ("recovers", 2.0)):
        health = Destination(name=f"https://{host}.example", failures=8, not_before=clock() + later)
        store.write(lambda tx, health=health: tx.save_destination(health))
    relay.destinations.pause("https://paused.example")
    relay.drain()
    assert drain_of(relay)["destinationsDue"] == 2

    for delay, due in ((2.0, 3), (2.01, 3)):
        other = Relay(store, QuietNotifier(), Policy(delivery_delay=delay), rng=random.Random(1))
        other.resume()
        answer(other, f"https://after-{delay}.example/x")
        other.drain()
        assert drain_of(other)["destinationsDue"] == due


def test_the_rows_of_a_batch_hold_up_only_a_drain_of_all(relay: Relay, clock: Clock) -> None:
    """CASES A15: they are counted among the jobs that wait, and Anthropic works on them without the relay."""
    relay.submit(a_submission("batched", mode="batch"))
    clock.advance(15)
    assert relay.batches.plan("w") is not None
    relay.submit(a_submission("queued"))
    relay.drain()
    clock.advance(2)
    drain = drain_of(relay)
    assert (drain["waiting"], drain["running"], drain["idle"], drain["runWaiting"]) == (2, 0, True, False)

    relay.cancel(JobRef(request_id="queued"))
    relay.drain(run_waiting=True)
    clock.advance(2)
    drain = drain_of(relay)
    assert (drain["waiting"], drain["idle"], drain["runWaiting"]) == (1, False, True)


def test_a_drain_of_all_leaves_a_pause_of_the_operator(relay: Relay, clock: Clock) -> None:
    """CASES A15: only the pause that a drain began itself is over then, and its time is given back to deadlines."""
    relay.submit(a_submission("r-1"))
    relay.pause()
    relay.drain(run_waiting=True)
    assert relay.execution.claim("w", limit=1) == []

    relay.resume()
    relay.drain()
    clock.advance(10 * Policy().deadline)
    relay.drain(run_waiting=True)
    assert relay.maintenance.expire() == []
    assert len(relay.execution.claim("w", limit=1)) == 1
