"""Fallback to another model: when, which one, and the warnings in the callback."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

R = JobRef(request_id="r")
SONNET, OPUS, HAIKU = "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"
REFUSED = a_failure(ErrorType.REFUSED, Remedy.FAIL)


def overloaded(**fields: Any) -> Any:
    return a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE, **({"retry_after": 30.0} | fields))


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(model=SONNET), rng=random.Random(1))


def submit(relay: Relay, name: str = "r", fallbacks: tuple[str, ...] = (OPUS, HAIKU), **fields: Any) -> None:
    options = {"model": SONNET, "maxTokens": 100, "effort": "xhigh", "fallbackModels": list(fallbacks)}
    relay.submit(a_submission(name, request={"prompt": "Hei", "options": options}, **fields))


def claim(relay: Relay) -> Any:
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    return claimed


def outcome(relay: Relay, ref: JobRef = R) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(relay.queries.result(ref) or b"{}")
    return body


def test_a_refusal_switches_to_the_fallback_model(relay: Relay) -> None:
    """At once, as an attempt of its own; the callback names its model and has a warning about the first."""
    submit(relay)
    relay.execution.fail(claim(relay), REFUSED)
    second = claim(relay)
    assert second.request.request["options"]["model"] == OPUS == second.job.model
    relay.execution.complete(second, a_completion(model=OPUS))

    body = outcome(relay)
    assert (body["status"], body["model"], body["attempts"]) == ("completed", OPUS, 2)
    assert body["warnings"] == [f"{SONNET} declined to answer; {OPUS} was asked instead"]
    ledger = relay.queries.job_details(R)["calls"]
    assert [(call["model"], call["outcome"]) for call in ledger] == [(SONNET, "refused"), (OPUS, "completed")]


def test_a_list_that_all_decline_comes_to_its_end(relay: Relay) -> None:
    """Each is asked once, and never the first again."""
    submit(relay)
    asked = []
    for _ in range(3):
        claimed = claim(relay)
        asked.append(claimed.job.model)
        relay.execution.fail(claimed, REFUSED)

    assert asked == [SONNET, OPUS, HAIKU]
    assert (outcome(relay)["errorType"], len(outcome(relay)["warnings"])) == ("refused", 2)
    assert relay.execution.claim("w", limit=1) == []


@pytest.mark.parametrize(
    "failure",
    [
        a_failure(ErrorType.REFUSED, Remedy.FAIL, partial="half an answer"),
        a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL),
        a_failure(ErrorType.NOT_FOUND, Remedy.FAIL),
        a_failure(ErrorType.BUDGET, Remedy.FAIL),
        a_failure(ErrorType.DEADLINE, Remedy.FAIL),
        a_failure(ErrorType.PERMISSION, Remedy.FAIL),
    ],
)
def test_an_error_of_the_request_itself_does_not_switch_the_model(relay: Relay, failure: Any) -> None:
    """Nor after a refusal in the middle of an answer: that answer was paid for."""
    submit(relay)

    assert relay.execution.fail(claim(relay), failure).state == "failed"


def test_without_a_word_of_it_a_job_keeps_to_its_model(relay: Relay, clock: Clock) -> None:
    submit(relay, fallbacks=())
    assert relay.execution.fail(claim(relay), REFUSED).state == "failed"

    submit(relay, "other", fallbacks=())
    relay.execution.fail(claim(relay), overloaded(retry_after=900.0))
    clock.advance(300)
    assert relay.maintenance.apply_fallbacks() == []


def test_long_overload_lets_all_who_wait_turn_and_who_was_never_tried_too(relay: Relay, clock: Clock) -> None:
    """Two minutes, over several throttles; a fallback whose own family is throttled is skipped."""
    submit(relay)
    submit(relay, "behind")
    submit(relay, "later", run_at=clock() + 5000)
    submit(relay, "keeps", fallbacks=())
    for _ in range(4):
        relay.execution.fail(claim(relay), overloaded())
        assert relay.maintenance.apply_fallbacks() == []
        clock.advance(31)
    relay.execution.fail(claim(relay), overloaded())
    notifier = relay.maintenance._context.notifier
    assert isinstance(notifier, QuietNotifier)
    notifier.notified.clear()
    switched = relay.maintenance.apply_fallbacks()
    assert [job.model for job in switched] == [OPUS, OPUS]
    assert notifier.notified == [tuple(job.id for job in switched)]  # workers hear of them at once

    held = claim(relay)
    assert held.job.model == OPUS
    relay.execution.complete(held, a_completion(model=OPUS))
    assert f"{SONNET} was overloaded for long; {OPUS} was asked instead" in outcome(relay)["warnings"]
    assert {relay.queries.status(JobRef(request_id=name))["model"] for name in ("later", "keeps")} == {SONNET}


def test_a_family_that_is_held_itself_is_passed_over(relay: Relay, clock: Clock) -> None:
    submit(relay, "opus", fallbacks=())
    relay.submit(a_submission("o", model=OPUS, request={"prompt": "x", "options": {"model": OPUS}}, priority=60.0))
    relay.execution.fail(claim(relay), overloaded(retry_after=600.0))
    submit(relay)
    relay.cancel(JobRef(request_id="opus"))
    for _ in range(5):
        relay.execution.fail(claim(relay), overloaded())
        clock.advance(31)
    relay.execution.fail(claim(relay), overloaded())

    assert [job.model for job in relay.maintenance.apply_fallbacks()] == [HAIKU]


def test_an_overload_of_long_ago_is_not_this_one(relay: Relay, clock: Clock) -> None:
    """The two minutes start again with each new throttle."""
    submit(relay, "first", fallbacks=())
    relay.execution.fail(claim(relay), overloaded())
    clock.advance(31)
    relay.execution.complete(claim(relay), a_completion())
    clock.advance(3600)
    submit(relay)
    relay.execution.fail(claim(relay), overloaded())

    assert relay.maintenance.apply_fallbacks() == []


def test_a_local_shortage_does_not_switch_the_model(relay: Relay, clock: Clock) -> None:
    """A machine without free file handles is no fault of the model, and another model would be called from it, too."""
    submit(relay)
    for _ in range(5):
        relay.execution.fail(
            claim(relay), a_failure(ErrorType.INTERNAL, Remedy.THROTTLE, retry_after=30.0, reason="exhausted")
        )
        clock.advance(31)
    relay.execution.fail(
        claim(relay), a_failure(ErrorType.INTERNAL, Remedy.THROTTLE, retry_after=30.0, reason="exhausted")
    )
    submit(relay, "behind")

    assert relay.maintenance.apply_fallbacks() == []


def test_a_retry_begins_with_the_model_that_was_named(relay: Relay) -> None:
    """And with all fallbacks; warnings of an earlier run stay with that run."""
    submit(relay)
    relay.execution.fail(claim(relay), REFUSED)
    relay.execution.complete(claim(relay), a_completion(model=OPUS))
    relay.retry(R)
    again = claim(relay)
    assert (again.job.model, again.job.fallbacks) == (SONNET, (OPUS, HAIKU))
    relay.execution.complete(again, a_completion())

    assert outcome(relay)["warnings"] == []


def test_a_model_that_was_retired_while_its_job_waited_becomes_the_default(
    relay: Relay, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted in time, due later: the default model is called, with a warning, without options it refuses."""
    old = "claude-opus-4-6"
    request = {"prompt": "Hei", "options": {"model": old, "effort": "xhigh"}}
    relay.submit(a_submission("r", model=old, request=request, run_at=clock() + 60))
    clock.advance(61)
    listed = [
        {"id": old, "lifecycle": "retired", "retiresAt": "2027-01-15T00:00:00Z"},
        {"id": SONNET, "line": "sonnet", "capabilities": {"effort": {"supported": False}}},
    ]
    relay.maintenance.set_shared("models", {"fetchedAt": clock(), "models": listed})
    claimed = claim(relay)

    assert claimed.job.model == claimed.request.request["options"]["model"] == SONNET
    assert "effort" not in claimed.request.request["options"]
    relay.execution.complete(claimed, a_completion())
    assert outcome(relay)["warnings"] == [
        f"{old} was retired before the call was made; {SONNET} was asked instead",
        f"options.effort xhigh was ignored: {SONNET} does not support it",
    ]


def test_a_batch_asks_a_model_that_is_there_too(relay: Relay, clock: Clock) -> None:
    """Retired while its jobs entered a batch, or refused in it: the request is adapted to the other model."""
    old = "claude-opus-4-6"
    request = {"prompt": "Hei", "options": {"model": old, "raw": {"model": old}, "fallbackModels": [HAIKU]}}
    relay.submit(a_submission("r", model=old, request=request, mode="batch"))
    listed = [{"id": old, "lifecycle": "retired"}, {"id": SONNET, "line": "sonnet"}]
    relay.maintenance.set_shared("models", {"fetchedAt": clock(), "models": listed})
    clock.advance(60)
    batch = relay.batches.plan("w")
    assert batch is not None
    [one] = relay.batches.contents(batch)

    assert one.request is not None
    assert (one.job.model, one.request.request["options"]["model"]) == (SONNET, SONNET)
    assert "raw" not in one.request.request["options"]


def test_a_gateway_s_own_name_of_a_model_is_asked_as_it_is(relay: Relay) -> None:
    """No list of models has it, and none says that it was retired."""
    submit(relay, model="our-gateway/fast", fallbacks=())
    assert claim(relay).job.model == "our-gateway/fast"
