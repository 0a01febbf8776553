"""Planning of batches: when jobs enter one, and when they stay out of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from claude_relay.core.batches import Batch, BatchState
from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, Remedy
from claude_relay.core.money.prices import PriceList
from claude_relay.core.policy import DAY, Policy
from claude_relay.core.wire import timestamp
from claude_relay.ports import BatchStatus, Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.batch_planner import MAX_UNSENT, next_jobs
from claude_relay.services.batches import BATCH_LEASE
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

DOWN = a_failure(sent=False, reason="connect")


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    policy = Policy(batch_linger=0.0, batch_size=5)
    relay = Relay(store, QuietNotifier(), policy, rng=random.Random(1))
    yield relay
    relay.close()


def wait_for_a_batch(relay: Relay, count: int) -> None:
    relay.submit_many([a_submission(f"r-{number}", mode="batch") for number in range(count)])


def send(relay: Relay, batch: Batch) -> None:
    relay.batches.sending(batch, [one.item.custom_id for one in relay.batches.contents(batch)])


def taken(relay: Relay) -> Batch:
    batch = relay.batches.claim_due("w")
    assert batch is not None
    return batch


def test_a_leased_batch_is_not_claimed_by_another_worker(relay: Relay, clock: Clock) -> None:
    """Until the lease has expired: the worker may be sending it."""
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    taken(relay)

    assert relay.batches.claim_due("other") is None
    clock.advance(BATCH_LEASE)
    assert relay.batches.claim_due("other") is not None


def test_a_long_queue_is_not_gathered_far_ahead_of_its_sending(relay: Relay) -> None:
    """Jobs in no batch yet can be paused, and do not delay the loop's heartbeat."""
    wait_for_a_batch(relay, 100)
    planned = 0
    while relay.batches.plan("w") is not None:
        planned += 1
    assert planned == MAX_UNSENT

    send(relay, taken(relay))
    assert relay.batches.plan("w") is not None
    assert relay.batches.plan("w") is None
    relay.pause()
    send(relay, taken(relay))
    assert relay.batches.plan("w") is None


def test_an_outage_of_minutes_fails_no_job_that_waits_for_a_batch(relay: Relay, clock: Clock) -> None:
    """As with live calls: one job probes the connection, the others keep their attempts."""
    wait_for_a_batch(relay, 100)
    tries = 0
    for _ in range(600):
        relay.batches.plan("w")
        while (batch := relay.batches.claim_due("w")) is not None:
            relay.batches.mark_create_refused(batch, DOWN)
            tries += 1
        clock.advance(1)

    assert tries < 40
    assert relay.queries.overview()["jobs"]["failed"] == 0
    assert str(relay.queries.status(JobRef(request_id="r-99"))["waitingFor"]).startswith("unreachable until ")


def test_once_the_line_is_up_all_go_on_at_once(relay: Relay, clock: Clock) -> None:
    wait_for_a_batch(relay, 20)
    assert relay.batches.plan("w") is not None
    relay.batches.mark_create_refused(taken(relay), DOWN)
    assert relay.batches.plan("w") is None
    clock.advance(2)
    probe = relay.batches.plan("w")
    assert probe is not None and probe.count == 1
    assert relay.batches.plan("w") is None
    send(relay, taken(relay))

    following = relay.batches.plan("w")
    assert following is not None and following.count == 5


def test_live_calls_hear_from_a_batch_that_the_line_is_down(relay: Relay) -> None:
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    relay.batches.mark_create_refused(taken(relay), DOWN)
    relay.submit(a_submission("live"))

    assert relay.execution.claim("w", limit=1) == []


@pytest.mark.parametrize(
    "failure",
    [
        a_failure(reason="pause_turn", usage={"input_tokens": 9}, cost_usd=0.25),
        a_failure(ErrorType.INVALID_REQUEST, reason="schema_refused", cost_usd=0.0),
        a_failure(ErrorType.TOO_LARGE, reason="item_too_large", cost_usd=0.0),
    ],
)
def test_an_error_that_needs_a_live_call_is_no_failed_attempt(store: Store, failure: Failure) -> None:
    """A live call continues after a pause, and puts a schema into the prompt, within one attempt: one must be left."""
    policy = Policy(batch_linger=0.0, call_attempts=1)
    relay = Relay(store, QuietNotifier(), policy, rng=random.Random(2))
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    batch = taken(relay)
    [one] = relay.batches.contents(batch)
    send(relay, batch)
    relay.batches.record_result(one, failure)
    [claimed] = relay.execution.claim("w", limit=1)

    assert relay.execution.complete(claimed, a_completion(cost_usd=0.5)).attempt == 1
    assert "called live" in json.loads(relay.queries.result(JobRef(request_id="r-0")) or b"")["warnings"][0]
    assert relay.queries.cost(by="key")["total"]["costUsd"] == 0.5 + (failure.cost_usd or 0.0)
    relay.close()


def a_status() -> BatchStatus:
    return BatchStatus(id="msgbatch_1", ended=False, count=1, created_at=0.0)


def test_a_settled_batch_is_purged_with_the_last_of_its_jobs(relay: Relay, store: Store, clock: Clock) -> None:
    """CASES M7: otherwise settled batches pile up. One that still waits for results is kept, however old it is."""
    relay.submit_many([a_submission(f"r-{number}", mode="batch", webhook_url=None) for number in range(6)])
    relay.batches.plan("w")
    relay.batches.plan("w")
    first, second = taken(relay), taken(relay)
    entries = relay.batches.contents(first)
    send(relay, second)
    sent = relay.batches.sending(first, [entry.item.custom_id for entry in entries])
    created = relay.batches.mark_created(sent, a_status())
    ended = relay.batches.mark_ended(created)
    versions = [batch.version for batch in (first, sent, created, ended)]
    assert versions == [2, 3, 4, 5]  # each change is one, from the plan on
    for entry in entries:
        assert not relay.batches.finish_if_complete(ended)
        relay.batches.record_result(entry, a_completion())
    assert relay.batches.finish_if_complete(ended)
    settled = store.read(lambda tx: tx.batch(first.id))
    assert settled is not None and settled.state is BatchState.SETTLED

    relay.maintenance.purge()
    assert store.read(lambda tx: tx.batch(first.id)) is not None
    clock.advance(2 * DAY)
    assert relay.maintenance.purge() == len(entries)
    assert store.read(lambda tx: tx.batch(first.id)) is None
    assert store.read(lambda tx: tx.batch(second.id)) is not None


@pytest.mark.parametrize("sent_after", [True, False])
def test_a_batch_created_after_the_key_was_refused_ends_the_park(relay: Relay, clock: Clock, sent_after: bool) -> None:
    """CASES M7: it proves that the key works again. One sent before the refusal, and answered late, proves nothing."""
    relay.submit(a_submission("live"))
    [claimed] = relay.execution.claim("w", limit=1)
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    batch = taken(relay)
    names = [entry.item.custom_id for entry in relay.batches.contents(batch)]
    sent = batch if sent_after else relay.batches.sending(batch, names)
    clock.advance(1)
    relay.execution.fail(claimed, a_failure(ErrorType.PERMISSION, Remedy.PARK))
    clock.advance(1)
    if sent_after:
        sent = relay.batches.sending(batch, names)
    assert [hold["scope"] for hold in relay.queries.overview()["holds"]] == ["park"]

    relay.batches.mark_created(sent, a_status())
    assert [hold["scope"] for hold in relay.queries.overview()["holds"]] == ([] if sent_after else ["park"])


@pytest.mark.parametrize("way", ["refused", "failed", "late", "never made"])
def test_workers_hear_at_once_of_a_job_that_leaves_its_batch_for_a_live_call(
    store: Store, clock: Clock, way: str
) -> None:
    """CASES M7: otherwise it waits for the next sweep. A job that waits for another batch is nothing to a worker."""
    notifier = QuietNotifier()
    relay = Relay(store, notifier, Policy(batch_linger=0.0, batch_margin=600.0), rng=random.Random(3))
    relay.submit(a_submission("r", mode="auto", need_by=clock() + 7200))
    relay.batches.plan("w")
    batch = taken(relay)
    [entry] = relay.batches.contents(batch)
    notifier.notified.clear()
    if way == "refused":
        relay.batches.mark_create_refused(batch, a_failure(remedy=Remedy.FAIL, reason="http_404"))
    elif way == "failed":
        send(relay, batch)
        relay.batches.record_result(entry, a_failure(reason="pause_turn"))
    elif way == "late":
        clock.advance(7000)
        assert [job.request_id for job in relay.batches.promote()] == ["r"]
    else:
        relay.batches.mark_not_created(batch)

    assert notifier.notified == ([] if way == "never made" else [(entry.job.id,)])
    relay.close()


@pytest.mark.parametrize("way", ["refused", "throttled", "halved", "never made", "results lost", "empty"])
def test_a_batch_that_is_over_is_claimed_by_no_worker_again(relay: Relay, clock: Clock, way: str) -> None:
    """CASES M7: however it ended; its jobs are called live or wait for another batch. A refused one goes as two."""
    wait_for_a_batch(relay, 1 if way == "refused" else 5)
    relay.batches.plan("w")
    batch = taken(relay)
    if way in ("refused", "halved"):
        relay.batches.mark_create_refused(batch, a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL))
    elif way == "throttled":
        relay.batches.mark_create_refused(batch, a_failure(remedy=Remedy.THROTTLE, retry_after=60.0))
    elif way == "empty":
        relay.batches.mark_empty(batch)
    else:
        sent = relay.batches.sending(batch, [entry.item.custom_id for entry in relay.batches.contents(batch)])
        if way == "never made":
            relay.batches.mark_not_created(sent)
        else:
            relay.batches.mark_results_lost(relay.batches.mark_created(sent, a_status()), a_failure())

    halves = {"planned": 2} if way == "halved" else {}
    assert relay.queries.overview()["batches"] == {"planned": 0, "creating": 0, "created": 0, "ended": 0} | halves
    clock.advance(DAY)
    rest = [relay.batches.claim_due("w") for _ in range(3)]
    counts = sorted(each.count for each in rest if each is not None)
    assert counts == ([2, 3] if way == "halved" else [])
    assert all(each.give_up_at == batch.give_up_at and each.planned_at == batch.planned_at for each in rest if each)


@pytest.mark.parametrize(
    ("result", "cost"),
    [
        (a_completion(cost_usd=0.5, model="claude-haiku-5"), 0.5),
        (a_failure(usage={"input_tokens": 1, "output_tokens": 0}, cost_usd=0.25, model="claude-haiku-5"), 0.25),
        (a_failure(), None),
    ],
)
def test_a_result_for_a_job_that_was_cancelled_is_paid_and_changes_nothing_else(
    relay: Relay, result: Completion | Failure, cost: float | None
) -> None:
    """CASES M5: by the model that answered; an item that cost nothing leaves no entry in the sums."""
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    batch = taken(relay)
    [entry] = relay.batches.contents(batch)
    send(relay, batch)
    relay.cancel(JobRef(request_id="r-0"))
    relay.batches.record_result(entry, result)
    costs = {row["model"]: row["costUsd"] for row in relay.queries.cost(by="model")["rows"]}

    assert relay.queries.status(JobRef(request_id="r-0"))["status"] == "failed"
    assert costs.get("claude-haiku-5") == cost
    assert relay.batches.record_result(entry, result) is None


@pytest.mark.parametrize("canceled", [True, False])
def test_an_item_that_its_batch_did_not_reach_is_called_live(store: Store, clock: Clock, canceled: bool) -> None:
    """Where the batch was given up for its time; a fault of the item itself is tried in another batch."""
    relay = Relay(store, QuietNotifier(), Policy(batch_linger=0.0, batch_margin=600.0), rng=random.Random(3))
    relay.submit(a_submission("r", mode="auto", need_by=clock() + 7200))
    relay.batches.plan("w")
    batch = taken(relay)
    [entry] = relay.batches.contents(batch)
    send(relay, batch)
    if canceled:
        job = relay.batches.record_result(entry, a_failure(), canceled=True)
    else:
        job = relay.batches.record_fault(entry.item.custom_id, a_failure())

    assert job is not None and job.lane == ("live" if canceled else "batch")
    relay.close()


def test_no_jobs_are_chosen_for_a_batch_that_may_not_be_sent(relay: Relay, store: Store) -> None:
    """While the queue is stopped, or as many batches wait upstream as are allowed."""

    def chosen() -> int:
        return len(store.read(lambda tx: next_jobs(tx, Policy(batch_linger=0.0, batch_size=5), PriceList(dated=""))))

    wait_for_a_batch(relay, 100)
    assert chosen() == 5
    relay.pause()
    assert chosen() == 0
    relay.resume()
    while relay.batches.plan("w") is not None:
        pass
    assert chosen() == 0


def test_a_throttled_creation_holds_every_batch_back_for_the_time_that_was_named(relay: Relay, clock: Clock) -> None:
    """Jobs that are called live go on."""
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    relay.batches.mark_create_refused(taken(relay), a_failure(remedy=Remedy.THROTTLE, retry_after=90.0))
    relay.submit(a_submission("other", mode="batch"))
    relay.submit(a_submission("live"))
    [hold] = relay.queries.overview()["holds"]
    assert (hold["scope"], hold["reason"], hold["until"]) == ("batches", "upstream", timestamp(clock() + 90))

    assert relay.batches.plan("w") is None
    assert len(relay.execution.claim("w", limit=9)) == 1
    clock.advance(91)
    assert relay.batches.plan("w") is not None


def test_a_batch_for_which_nobody_waits_is_looked_at_at_once(relay: Relay, clock: Clock) -> None:
    """To cancel it; one for which others wait keeps its time."""
    wait_for_a_batch(relay, 2)
    relay.batches.plan("w")
    batch = taken(relay)
    names = [entry.item.custom_id for entry in relay.batches.contents(batch)]
    created = relay.batches.mark_created(relay.batches.sending(batch, names), a_status())
    assert created.next_at > clock()
    relay.cancel(JobRef(request_id="r-0"))
    assert relay.batches.next_at() == created.next_at
    relay.cancel(JobRef(request_id="r-1"))
    assert relay.batches.next_at() == clock()


def test_jobs_of_a_paused_group_enter_no_batch(relay: Relay) -> None:
    """A group that only has limits holds none back: a batch is no call of it."""
    relay.submit(a_submission("paused", mode="batch", group="paused"))
    relay.submit(a_submission("limited", mode="batch", group="limited"))
    relay.pause("paused")
    relay.set_group("limited", concurrency=1, rate=None)
    batch = relay.batches.plan("w")
    assert batch is not None
    assert [entry.job.request_id for entry in relay.batches.contents(batch)] == ["limited"]

    relay.resume("paused")
    batch = relay.batches.plan("w")
    assert batch is not None
    assert [entry.job.request_id for entry in relay.batches.contents(batch)] == ["paused"]


def test_an_item_is_read_for_its_own_batch_until_its_result_is_there(relay: Relay) -> None:
    """Not for another batch, and not under a name that no item has."""
    wait_for_a_batch(relay, 6)
    relay.batches.plan("w")
    relay.batches.plan("w")
    first, second = taken(relay), taken(relay)
    entry = relay.batches.contents(first)[0]
    name = entry.item.custom_id
    send(relay, first)
    found = relay.batches.content(first, name)
    assert found is not None and found.item == entry.item
    assert relay.batches.content(second, name) is None and relay.batches.content(first, "none") is None
    assert (relay.batches.batch_of(name), relay.batches.batch_of("none")) == (first.id, None)

    relay.batches.record_result(entry, a_completion())
    assert relay.batches.content(first, name) is None and relay.batches.batch_of(name) == first.id


def test_polls_without_news_are_counted_until_there_are_news(relay: Relay, clock: Clock) -> None:
    """In the present state; those in a row that missed the batch apart, which one that finds it ends."""
    wait_for_a_batch(relay, 1)
    relay.batches.plan("w")
    batch = taken(relay)
    sent = relay.batches.sending(batch, [entry.item.custom_id for entry in relay.batches.contents(batch)])
    lost = relay.batches.mark_create_unknown(sent, a_failure())
    looked = relay.batches.reschedule_poll(lost, missed=True)
    created = relay.batches.mark_created(looked, a_status())
    missed = relay.batches.reschedule_poll(relay.batches.reschedule_poll(created, missed=True), missed=True, detail="x")
    there = relay.batches.reschedule_poll(missed)
    ended = relay.batches.mark_ended(relay.batches.reschedule_poll(there, missed=True))

    polls = [(each.looks, each.misses) for each in (lost, looked, created, missed, there, ended)]
    assert polls == [(0, 0), (1, 1), (0, 0), (2, 2), (3, 0), (0, 0)]
    assert (missed.detail, there.detail) == ("x", "x")
    assert clock() < created.next_at < there.next_at and there.worker is None
    assert ended.ended_at == clock()


def test_a_batch_that_is_split_keeps_the_first_part(relay: Relay, clock: Clock) -> None:
    """The others are batches of their own, sent as soon; an item that is in none of them is dropped when it is sent."""
    wait_for_a_batch(relay, 5)
    relay.batches.plan("w")
    batch = taken(relay)
    a, b, c, d, e = (entry.item.custom_id for entry in relay.batches.contents(batch))
    kept = relay.batches.split(batch, [[a, b], [c], [d, "none"], []])
    parts = [taken(relay), taken(relay)]

    assert (kept.count, sorted(part.count for part in parts)) == (2, [1, 1])
    assert {relay.batches.batch_of(name) for name in (c, d)} == {part.id for part in parts}
    assert relay.batches.claim_due("w") is None
    relay.batches.sending(kept, [a, b])
    assert {entry.item.custom_id for entry in relay.batches.contents(kept)} == {a, b}
    assert relay.batches.content(kept, e) is None
