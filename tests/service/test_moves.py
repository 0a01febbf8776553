"""Concurrent transitions: a cancel and a release, an old run's delivery and a new run, a park and late answers."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy
from claude_relay.core.jobs.job import Job, Retain, State
from claude_relay.core.policy import DAY, Policy
from claude_relay.core.wire import timestamp
from claude_relay.errors import LeaseLost, StoreUnavailable
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay, holds
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

R = JobRef(request_id="r")
OK = Reply(status=200)
GONE = Reply(status=410)


def claim(relay: Relay, limit: int = 1) -> Any:
    found = relay.execution.claim("w", limit=limit)
    return found[0] if limit == 1 else found


def post(relay: Relay, clock: Clock, reply: Reply) -> list[bytes]:
    """Send all due deliveries with the same reply; returns them."""
    clock.advance(5)
    sent = relay.deliveries.claim("w", limit=10, at_once=10)
    for one in sent:
        relay.deliveries.record_attempt(one, reply)
    return [one.body for one in sent]


def stored(store: Store, name: str) -> Job:
    return store.read(lambda tx: tx.find(name, None)[0])


def test_a_job_that_is_handed_back_with_a_cancel_asked_for_is_cancelled(relay: Relay) -> None:
    """Otherwise it would wait, and be paid for, after its caller got the answer that it is being cancelled."""
    relay.submit(a_submission("r"))
    claimed = claim(relay)
    relay.cancel(R)

    assert relay.execution.release(claimed).state is State.CANCELLED
    assert relay.queries.status(R)["errorType"] == "cancelled"


def test_an_answer_that_began_before_the_park_says_nothing_of_it(relay: Relay, clock: Clock) -> None:
    """Calls in flight when the key was refused still end; only one that began later proves that the key works."""
    for name in "abc":
        relay.submit(a_submission(name))
    early, refused = claim(relay, 2)
    clock.advance(1)
    relay.execution.fail(refused, a_failure(ErrorType.PERMISSION, Remedy.PARK))
    clock.advance(1)
    relay.execution.complete(early, a_completion())
    assert relay.execution.claim("w", limit=5) == []

    clock.advance(301)
    relay.execution.complete(claim(relay), a_completion())
    assert len(claim(relay, 5)) == 1


def test_jobs_that_stand_still_hide_no_deadline_of_others(relay: Relay, clock: Clock) -> None:
    """A long queue in a paused group, past its default deadlines, is skipped."""
    relay.submit_many([a_submission(group="still") for _ in range(120)])
    relay.pause("still")
    clock.advance(DAY + 60)
    relay.submit(a_submission("late", deadline_at=clock() + 1))
    clock.advance(2)
    assert [job.request_id for job in relay.maintenance.expire()] == ["late"]

    relay.pause()
    relay.submit(a_submission("later", deadline_at=clock() + 1))
    clock.advance(2)
    assert [job.request_id for job in relay.maintenance.expire()] == ["later"]
    assert relay.maintenance.expire() == []


def test_time_that_was_paused_and_parked_at_once_is_given_back_once(relay: Relay, store: Store, clock: Clock) -> None:
    relay.submit_many([a_submission("probe"), a_submission("r")])
    before = stored(store, "r").deadline_at
    relay.execution.fail(claim(relay), a_failure(ErrorType.PERMISSION, Remedy.PARK))
    relay.pause()
    clock.advance(3600)
    relay.resume()

    assert stored(store, "r").deadline_at == pytest.approx((before or 0) + 3600, abs=1)


def test_a_clock_that_is_set_back_takes_no_time_from_a_deadline(relay: Relay, store: Store, clock: Clock) -> None:
    relay.submit(a_submission("r"))
    before = stored(store, "r").deadline_at
    relay.pause()
    clock.advance(-3600)
    relay.resume()

    assert stored(store, "r").deadline_at == before


def a_retried(relay: Relay, clock: Clock) -> Any:
    """`retain: metadata`; its first run has failed and is being delivered, its second is running."""
    relay.submit(a_submission("r", retain=Retain.METADATA))
    relay.execution.fail(claim(relay), a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL))
    clock.advance(0.5)
    relay.retry(R)
    return claim(relay)


def test_a_delivery_of_an_old_run_erases_nothing_that_the_new_one_needs(
    relay: Relay, store: Store, clock: Clock
) -> None:
    claimed = a_retried(relay, clock)
    assert len(post(relay, clock, OK)) == 1
    prompt = store.read(lambda tx: tx.request(claimed.job.id))
    assert prompt is not None and prompt.request["prompt"] == "Hei"

    relay.execution.complete(claimed, a_completion())
    assert b"Svar" in post(relay, clock, OK)[0]
    erased = store.read(lambda tx: tx.request(claimed.job.id))
    assert erased is not None and erased.request == {}


@pytest.mark.parametrize("last", [OK, GONE])
def test_nothing_is_erased_while_another_run_is_still_being_told(
    relay: Relay, store: Store, clock: Clock, last: Reply
) -> None:
    """The last delivery to end, in either way, erases the content."""
    claimed = a_retried(relay, clock)
    relay.execution.complete(claimed, a_completion())
    clock.advance(5)
    old, new = sorted(relay.deliveries.claim("w", limit=2, at_once=2), key=lambda one: one.delivery.run)
    relay.deliveries.record_attempt(new, OK)
    outcome = store.read(lambda tx: tx.outcome(claimed.job.id, 1))
    assert outcome is not None and outcome.body == old.body

    relay.deliveries.record_attempt(old, last)
    gone = store.read(lambda tx: tx.outcome(claimed.job.id, 1))
    assert gone is not None and gone.body == b""


def test_a_job_is_not_purged_while_an_old_run_is_still_being_told(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r"))
    relay.execution.complete(claim(relay), a_completion())
    relay.retry(R)
    relay.execution.complete(claim(relay), a_completion())
    clock.advance(5)
    old, new = sorted(relay.deliveries.claim("w", limit=2, at_once=2), key=lambda one: one.delivery.run)
    relay.deliveries.record_attempt(new, OK)
    clock.advance(2 * DAY)
    assert relay.maintenance.purge() == 0

    relay.deliveries.record_attempt(old, OK)
    assert relay.maintenance.purge() == 1


def test_a_worker_that_lost_its_lease_sends_nothing(relay: Relay) -> None:
    """Otherwise a second call would be paid for without a ledger entry."""
    relay.submit(a_submission("r-1"))
    [frozen] = relay.execution.claim("w1", limit=1)
    relay.execution.reap(frozen.job.id, frozen.token, why="frozen")
    [other] = relay.execution.claim("w2", limit=1)

    with pytest.raises(LeaseLost):
        relay.execution.sending(frozen)
    assert [call["sent"] for call in relay.queries.job_details(JobRef(request_id="r-1"))["calls"]] == [False, False]
    relay.execution.sending(other)


def test_one_lost_lease_sinks_no_other_answer(relay: Relay) -> None:
    """Answers stored together: a lost lease is returned in its place, the others are stored."""
    for name in "abc":
        relay.submit(a_submission(name))
    claimed = claim(relay, 3)
    relay.execution.reap(claimed[1].job.id, claimed[1].token, why="its worker died")
    done = relay.execution.complete_many([(one, a_completion()) for one in claimed])

    assert [isinstance(one, LeaseLost) or one.state.value for one in done] == ["completed", True, "completed"]
    assert [relay.queries.status(JobRef(request_id=name))["status"] for name in "abc"] == [
        "completed",
        "pending",
        "completed",
    ]


def test_a_store_that_is_closed_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Every write during the close is answered: stored, or refused as the store is closed."""
    for turn in range(20):
        store = SqliteStore(tmp_path / f"{turn}.db")
        told: list[object] = []

        def write(store: SqliteStore = store, told: list[object] = told) -> None:
            try:
                while True:
                    store.write(lambda tx: None)
            except StoreUnavailable as exc:
                told.append(exc)

        threads = [threading.Thread(target=write, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        store.close()
        for thread in threads:
            thread.join(60)
        assert len(told) == len(threads)


def parked(relay: Relay, clock: Clock) -> Any:
    """The key was refused; a probe is running, five minutes later."""
    relay.submit_many([a_submission(name) for name in "abc"])
    relay.execution.fail(claim(relay), a_failure(ErrorType.PERMISSION, Remedy.PARK))
    clock.advance(301)
    return claim(relay)


@pytest.mark.parametrize(
    ("failure", "opens"),
    [
        (a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL), True),
        (a_failure(ErrorType.NOT_FOUND, Remedy.FAIL), True),
        (a_failure(ErrorType.RATE_LIMIT, Remedy.THROTTLE, retry_after=1.0), True),
        (a_failure(ErrorType.REFUSED, Remedy.FAIL, usage={"input_tokens": 9}), True),
        (a_failure(ErrorType.UPSTREAM, usage={"input_tokens": 9}, ambiguous=True), True),
        (a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL, sent=False), False),
        (a_failure(ErrorType.PERMISSION, Remedy.FAIL), False),
        (a_failure(ErrorType.TOO_LARGE, Remedy.FAIL), False),
        (a_failure(ErrorType.UPSTREAM), False),
        (a_failure(ErrorType.TIMEOUT), False),
        (a_failure(ErrorType.OVERLOADED, Remedy.THROTTLE, retry_after=1.0), False),
        (a_failure(ErrorType.BUDGET, Remedy.PARK, usage={"input_tokens": 9}), False),
    ],
    ids=lambda value: f"{value.type.value}-{value.remedy.value}-{bool(value.usage)}" if hasattr(value, "type") else "",
)
def test_a_probe_that_fails_opens_the_queue_if_it_shows_that_the_key_works(
    relay: Relay, clock: Clock, failure: Any, opens: bool
) -> None:
    """A reply that needs an accepted key ends the park; a reply of the edge, or a timeout, proves nothing."""
    relay.execution.fail(parked(relay, clock), failure)
    clock.advance(2)

    assert (len(claim(relay, 9)) >= 2) is opens


@pytest.mark.parametrize("first", ["pause", "park"])
def test_a_pause_and_a_park_that_end_apart_give_the_hours_they_share_back_once(
    relay: Relay, store: Store, clock: Clock, first: str
) -> None:
    """An hour of the first, an hour of both, an hour of the second: three hours, in either order."""
    relay.submit_many([a_submission("probe"), a_submission("r")])
    before = stored(store, "r").deadline_at or 0
    probe = claim(relay)
    refusal = a_failure(ErrorType.PERMISSION, Remedy.PARK)
    if first == "park":
        relay.execution.fail(probe, refusal)
    else:
        relay.pause()
    clock.advance(3600)
    if first == "park":
        relay.pause()
    else:
        relay.execution.fail(probe, refusal)
    clock.advance(3600)
    ended = "pause" if first == "pause" else "park"
    store.write(lambda tx: holds.release(tx, ended))
    clock.advance(3600)
    relay.resume()

    assert stored(store, "r").deadline_at == pytest.approx(before + 3 * 3600, abs=1)


def test_a_groups_pause_inside_the_relays_is_given_back_once(relay: Relay, store: Store, clock: Clock) -> None:
    relay.submit_many([a_submission("r", group="g"), a_submission("other")])
    before = stored(store, "r").deadline_at or 0
    relay.pause("g")
    clock.advance(100)
    relay.pause()
    clock.advance(1000)
    relay.resume()
    clock.advance(100)
    relay.resume("g")

    assert stored(store, "r").deadline_at == pytest.approx(before + 1200, abs=1)
    assert stored(store, "other").deadline_at == pytest.approx(before + 1000, abs=1)


def test_the_cost_of_a_job_is_that_of_its_latest_run(relay: Relay, store: Store) -> None:
    """Status, result and callback show the run; the record's ledger keeps earlier costs."""
    relay.submit(a_submission("r"))
    relay.execution.complete(claim(relay), a_completion(cost_usd=0.5))
    relay.retry(R)
    assert relay.queries.status(R)["costUsd"] is None
    relay.execution.fail(claim(relay), a_failure(cost_usd=0.25, usage={"input_tokens": 9}))
    waits = store.read(lambda tx: tx.find("r", None)[0])
    assert waits.cost_usd == 0.25
    relay.cancel(R)

    assert relay.queries.status(R)["costUsd"] == 0.25
    assert b'"costUsd":0.25' in (relay.queries.result(R) or b"")
    assert [call["costUsd"] for call in relay.queries.job_details(R)["calls"]] == [0.5, 0.25]


def test_the_ledger_keeps_how_far_a_call_came_whose_worker_died(relay: Relay, clock: Clock) -> None:
    """The time of the first byte, the tokens and their cost: counted as spent."""
    relay.submit(a_submission("r"))
    claimed = claim(relay)
    relay.execution.sending(claimed)
    came = PartialResponse(text="Sv", usage={"input_tokens": 9}, cost_usd=0.125, first_byte_at=clock() + 1)
    relay.execution.checkpoint(claimed, came)
    relay.execution.checkpoint(claimed, replace(came, text="Svar", first_byte_at=clock() + 2))
    clock.advance(30)
    relay.execution.reap(claimed.job.id, claimed.token, why="the worker died")

    [call] = relay.queries.job_details(R)["calls"]
    assert call["firstByteAt"] == timestamp(clock() - 29)
    assert (call["costUsd"], call["responseLength"], call["outcome"]) == (0.125, 4, "interrupted")
    assert relay.queries.status(R)["costUsd"] == 0.125


def test_a_job_that_is_taken_back_is_announced_and_no_other_is_touched(store: Store, clock: Clock) -> None:
    """Another worker starts it at once; an unknown job, another token and an ended job change nothing."""
    notifier = QuietNotifier()
    relay = Relay(store, notifier, Policy(), rng=random.Random(1))
    relay.submit_many([a_submission("r"), a_submission("ended")])
    one, other = claim(relay, 2)
    relay.execution.complete(other, a_completion())
    notifier.notified.clear()

    assert relay.execution.reap("unknown", one.token, why="a crash") is None
    assert relay.execution.reap(one.job.id, other.token, why="a crash") is None
    assert relay.execution.reap(other.job.id, other.token, why="a crash") is None
    assert notifier.notified == []
    taken = relay.execution.reap(one.job.id, one.token, why="a crash")
    assert taken is not None and taken.state is State.QUEUED
    assert notifier.notified == [(one.job.id,)]
    assert relay.execution.reap(one.job.id, one.token, why="a crash") is None
    relay.close()
