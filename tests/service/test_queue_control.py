"""What an operator does to the queue and its groups: limits, pauses, and that workers hear of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import DAY, Policy
from claude_relay.errors import InvalidRequest
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.queue_control import MAX_CONCURRENCY
from tests.support.builders import Clock, QuietNotifier, a_failure, a_submission
from tests.support.collections import C, callbacks, create


@pytest.mark.parametrize(
    ("concurrency", "rate", "problems"),
    [
        (1, None, []),
        (MAX_CONCURRENCY, 1_000_000_000, []),
        (None, 0.000001, []),
        (0, None, ["concurrency must be 1 or more; pause the group to stop it"]),
        (MAX_CONCURRENCY + 1, None, ["concurrency must be at most 2,147,483,647"]),
        (None, 0.0, ["rate must be more than 0 jobs a minute; pause the group to stop it"]),
        (None, math.nan, ["rate must be more than 0 jobs a minute; pause the group to stop it"]),
        (None, 0.0000009, ["rate must be from 0.000001 to 1,000,000,000 jobs a minute"]),
        (None, 1_000_000_000.1, ["rate must be from 0.000001 to 1,000,000,000 jobs a minute"]),
        (0, -1.0, ["concurrency must be 1 or more; pause the group to stop it",
                   "rate must be more than 0 jobs a minute; pause the group to stop it"]),
    ],
)  # fmt: skip
def test_limits_of_a_group_are_what_an_engine_can_hold(
    relay: Relay, concurrency: int | None, rate: float | None, problems: list[str]
) -> None:
    """All that is wrong is said at once, and nothing is stored then."""
    before = relay.queries.group("g")
    if problems:
        with pytest.raises(InvalidRequest) as caught:
            relay.set_group("g", concurrency=concurrency, rate=rate)
        assert [f"{each.field} {each.problem}" for each in caught.value.problems] == problems
        assert relay.queries.group("g") == before
    else:
        group = relay.set_group("g", concurrency=concurrency, rate=rate)
        assert (group.concurrency, group.rate) == (concurrency, rate)
        assert relay.queries.group("g") == {**before, "concurrency": concurrency, "rate": rate}


def test_new_limits_count_from_now_and_leave_a_group_paused(relay: Relay, clock: Clock) -> None:
    """A rate of one job a day, once it is lifted, holds no job up."""
    relay.submit_many([a_submission(group="g") for _ in range(3)])
    relay.set_group("g", concurrency=None, rate=1 / 1440)
    assert len(relay.execution.claim("w", limit=3)) == 1
    relay.set_group("g", concurrency=None, rate=1.0)
    assert len(relay.execution.claim("w", limit=3)) == 1

    relay.pause("g")
    relay.set_group("g", concurrency=None, rate=None)
    assert relay.queries.group("g")["paused"] and relay.execution.claim("w", limit=3) == []
    relay.resume("g")
    assert len(relay.execution.claim("w", limit=3)) == 1


def test_the_time_of_a_pause_is_given_back_from_its_first_request_on(relay: Relay, clock: Clock) -> None:
    """For a group; a repeated pause does not begin it anew, and a repeated resume gives nothing back."""
    relay.submit(a_submission("r", group="g"))
    relay.pause("g")
    clock.advance(2 * DAY)
    relay.pause("g")
    clock.advance(1)
    relay.resume("g")
    assert relay.maintenance.expire() == []
    relay.resume("g")
    clock.advance(DAY + 1)
    assert [job.request_id for job in relay.maintenance.expire()] == ["r"]


@pytest.mark.parametrize(
    "act",
    [
        lambda relay: relay.resume(),
        lambda relay: relay.resume("g"),
        lambda relay: relay.drain(run_waiting=True),
        lambda relay: relay.set_group("g", concurrency=1, rate=None),
        lambda relay: relay.destinations.resume("https://hook.example"),
    ],
    ids=["resume", "resume of a group", "drain --all", "limits", "resume of a receiver"],
)
def test_workers_hear_at_once_that_jobs_may_start(store: Store, act: Callable[[Relay], None]) -> None:
    """Otherwise they wait for their next sweep."""
    notifier = QuietNotifier()
    relay = Relay(store, notifier, Policy(), rng=random.Random(1))
    relay.pause("g")
    relay.drain()
    relay.destinations.pause("https://hook.example")
    notifier.notified.clear()
    act(relay)

    assert notifier.notified == [()]


def test_a_resume_lets_a_call_be_tried_although_nothing_could_be_reached(relay: Relay, clock: Clock) -> None:
    """The operator has put the line up again, and need not wait for the next probe."""
    relay.submit_many([a_submission(f"r-{number}") for number in range(12)])
    while claimed := relay.execution.claim("w", limit=1):
        relay.execution.fail(claimed[0], a_failure(sent=False, reason="connect"))
    assert relay.queries.overview()["holds"]

    relay.resume()
    assert relay.queries.overview()["holds"] == []
    assert len(relay.execution.claim("w", limit=2)) == 2


def test_workers_hear_at_once_of_a_job_or_a_callback_that_is_to_go_again(store: Store, clock: Clock) -> None:
    """A retry by the job's id, so that it is claimed without a sweep."""
    notifier = QuietNotifier()
    relay = Relay(store, notifier, Policy(delivery_delay=0.0), rng=random.Random(1))
    create(relay, clock, 2)
    relay.submit(a_submission("r"))
    for claimed in relay.execution.claim("w", limit=9):
        relay.execution.fail(claimed, a_failure(ErrorType.REFUSED, Remedy.FAIL))
    callbacks(relay)
    ref = JobRef(request_id="r")

    def heard(act: Callable[[], object]) -> list[tuple[str, ...]]:
        notifier.notified.clear()
        act()
        return notifier.notified

    job_id = store.read(lambda tx: tx.find("r", None)[0].id)
    assert heard(lambda: relay.redeliver(ref)) == [()]
    assert heard(lambda: relay.retry(ref)) == [(job_id,)]
    assert heard(lambda: relay.cancel(ref)) == [()]
    assert heard(lambda: relay.collection_actions.redeliver(C)) == [()]
    assert heard(lambda: relay.collection_actions.retry(C)) == [()]
    assert heard(lambda: relay.collection_actions.cancel(C)) == [()]
    assert heard(lambda: relay.destinations.send_sample("https://hook.example/x", owner="admin")) == [()]
