"""What an operator does to a receiver: pause, resume, and a sample that costs nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.deliveries.destination import Destination
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, InvalidRequest
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.destination_control import SAMPLE, SAMPLE_MODEL
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission

HOOK = "https://hook.example"


def end(relay: Relay, *names: str) -> None:
    """Calls that have just ended, whose callbacks are due at once."""
    relay.submit_many([a_submission(name) for name in names])
    relay.execution.complete_many([(each, a_completion()) for each in relay.execution.claim("w", limit=len(names))])


def next_attempt(relay: Relay, name: str) -> str:
    at: str = relay.queries.status(JobRef(request_id=name))["delivery"]["nextAttemptAt"]
    return at


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0, webhook_schedule=(3600.0,)), rng=random.Random(1))


@pytest.mark.parametrize(
    "name", ["hook.example", "ftp://hook.example", f"{HOOK}/x", f"{HOOK}:443", "https://" + 293 * "a", ""]
)
def test_a_receiver_is_named_by_scheme_host_and_port(relay: Relay, name: str) -> None:
    """As in the overview; a URL, or a name of more than 300 characters, is none."""
    for act in (relay.destinations.pause, relay.destinations.resume):
        with pytest.raises(InvalidRequest, match="must be scheme, host and port"):
            act(name)
    relay.destinations.pause("https://" + 292 * "a")
    relay.destinations.pause("http://hook.example:8080")


def test_only_what_was_paused_or_fails_is_resumed(relay: Relay, clock: Clock) -> None:
    """A paused one gets its callbacks then, and loses none."""
    with pytest.raises(Conflict, match="neither paused nor failing"):
        relay.destinations.resume(HOOK)
    end(relay, "r-1")
    relay.destinations.pause(HOOK)
    assert relay.deliveries.claim("w", limit=1) == []
    relay.destinations.resume(HOOK)
    assert len(relay.deliveries.claim("w", limit=1)) == 1


def test_a_failing_receiver_that_is_resumed_is_tried_with_one_callback(
    relay: Relay, store: Store, clock: Clock
) -> None:
    """At once; the others keep their times, as it may fail again."""
    end(relay, "r-1", "r-2")
    for sent in relay.deliveries.claim("w", limit=2):
        relay.deliveries.record_attempt(sent, Reply(status=503))
    later = {name: next_attempt(relay, name) for name in ("r-1", "r-2")}
    answers = Destination(name=HOOK, failures=2)
    store.write(lambda tx: tx.save_destination(answers))
    relay.destinations.resume(HOOK)  # it is not slowed down: there is nothing to do
    assert {name: next_attempt(relay, name) for name in later} == later

    failing = Destination(name=HOOK, failures=8, slowed_at=clock(), failing_since=clock(), not_before=clock() + 3600)
    store.write(lambda tx: tx.save_destination(failing))
    relay.destinations.resume(HOOK)
    clock.advance(1)
    [probe] = relay.deliveries.claim("w", limit=2)
    relay.deliveries.record_attempt(probe, Reply(status=200))
    times = [next_attempt(relay, name) for name in later if name != probe.request_id]
    assert times == [at for name, at in later.items() if name != probe.request_id]


def test_a_sample_is_a_callback_like_any_other_without_a_call(relay: Relay, clock: Clock) -> None:
    """Its record is a job that cost nothing; its receiver can tell it by its metadata."""
    job = relay.destinations.send_sample(f"{HOOK}/in", owner="ann")
    [sent] = relay.deliveries.claim("w", limit=1)
    body: dict[str, Any] = json.loads(sent.body)
    relay.deliveries.record_attempt(sent, Reply(status=200))
    details = relay.queries.job_details(JobRef(request_id=job.request_id, owner="ann"))

    assert (sent.delivery.url, sent.request_id, job.request_id[:7]) == (f"{HOOK}/in", job.request_id, "sample-")
    assert (body["status"], body["response"], body["model"]) == ("completed", SAMPLE, SAMPLE_MODEL)
    assert set(body["usage"].values()) == {0} and body["metadata"] == {"sample": True}
    assert (details["status"], details["owner"], details["run"], details["calls"]) == ("completed", "ann", 1, [])
    assert details["delivery"]["status"] == "delivered"
    assert next(event["event"] for event in details["events"]) == "submitted"
    assert relay.queries.cost(by="key")["rows"] == []
