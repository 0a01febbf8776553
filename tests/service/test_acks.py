"""Acknowledgements, results that lack one, and the reminder; on a real store."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import Remedy
from claude_relay.core.jobs.job import Retain
from claude_relay.core.policy import DAY, Policy
from claude_relay.errors import NotFound
from claude_relay.ports import JobFilter, Store
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sql import acks as reminders
from claude_relay.storage.sql.job_filter import newest
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

PUBLIC = "https://relay.example.com/base"
REMIND = Policy(public_url=PUBLIC, ack_remind=1800.0)


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), REMIND, rng=random.Random(1))


def finished(relay: Relay, name: str, **fields: Any) -> dict[str, Any]:
    """Run a job; returns its result."""
    relay.submit(a_submission(name, **fields))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    return result(relay, name)


def result(relay: Relay, name: str) -> dict[str, Any]:
    return json.loads(relay.queries.result(JobRef(request_id=name)) or b"{}")


def deliver(relay: Relay, clock: Clock, status: int = 200) -> list[tuple[str, bytes]]:
    """Send all due deliveries; returns their ids and bodies."""
    clock.advance(5)
    sent = relay.deliveries.claim("w", limit=100, at_once=100)
    for one in sent:
        relay.deliveries.record_attempt(one, Reply(status=status))
    return [(one.delivery.webhook_id, one.body) for one in sent]


def token(body: dict[str, Any]) -> str:
    base, _, made = body["ackUrl"].rpartition("/")
    assert base == f"{PUBLIC}/ack"
    return made


def status(relay: Relay, name: str) -> dict[str, Any]:
    return relay.queries.status(JobRef(request_id=name))


def unacked(relay: Relay, **which: Any) -> list[str]:
    return [job["requestId"] for job in relay.queries.jobs(JobFilter(unacked=True, **which)).jobs]


def test_an_ack_is_kept_with_its_time_and_said_again_changes_nothing(relay: Relay, clock: Clock) -> None:
    body = finished(relay, "a")
    deliver(relay, clock)
    assert status(relay, "a")["acked"] is None
    first = relay.acks.ack(token(body))
    clock.advance(100)
    again = relay.acks.ack(token(body))

    assert first == again and first.request_id == "a"
    assert status(relay, "a")["acked"] == "2027-01-15T08:00:05.000Z"
    acks = [event for event in relay.queries.job_details(JobRef(request_id="a"))["events"] if event["event"] == "acked"]
    assert len(acks) == 1


def test_success_and_failure_carry_the_address_in_what_is_sent(relay: Relay, clock: Clock) -> None:
    """In the frozen bytes, after `warnings`; not in a minimal callback."""
    good = finished(relay, "good")
    relay.submit(a_submission("bad"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(remedy=Remedy.FAIL))
    bodies = [json.loads(body) for _, body in deliver(relay, clock)]

    assert [body["ackUrl"] for body in bodies] == [good["ackUrl"], result(relay, "bad")["ackUrl"]]
    assert list(good)[-1] == list(result(relay, "bad"))[-1] == "ackUrl"
    assert relay.acks.ack(token(result(relay, "bad"))).request_id == "bad"


def test_the_seed_callback_has_no_address(store: Store, clock: Clock) -> None:
    relay = Relay(store, QuietNotifier(), Policy(public_url=PUBLIC, callback="seed"), rng=random.Random(2))
    body = finished(relay, "a")
    [(_, sent)] = deliver(relay, clock)

    assert "ackUrl" not in json.loads(sent) and body["ackUrl"]


def test_without_a_public_url_there_is_no_address(store: Store) -> None:
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(3))

    assert finished(relay, "a")["ackUrl"] is None


def test_a_run_is_acked_alone(relay: Relay, clock: Clock) -> None:
    """An acknowledgement of one run does not count for the next."""
    first = finished(relay, "a")
    relay.retry(JobRef(request_id="a"))
    assert status(relay, "a")["acked"] is None
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion("Nytt svar"))
    second = result(relay, "a")

    relay.acks.ack(token(first))
    assert status(relay, "a")["acked"] is None
    relay.acks.ack(token(second))
    assert status(relay, "a")["acked"] is not None


def test_a_token_outlives_the_process(relay: Relay, store: Store) -> None:
    """Another process on the same store accepts the tokens of this one."""
    body = finished(relay, "a")

    assert Relay(store, QuietNotifier(), Policy(), rng=random.Random(4)).acks.ack(token(body)).request_id == "a"


def test_another_relays_token_is_unknown(relay: Relay, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "other.db")
    made = token(finished(Relay(other, QuietNotifier(), REMIND, rng=random.Random(5)), "a"))
    other.close()
    with pytest.raises(NotFound):
        relay.acks.ack(made)  # before there is a secret here
    finished(relay, "a")
    with pytest.raises(NotFound):
        relay.acks.ack(made)


def test_a_purged_jobs_token_is_unknown_in_the_same_words(relay: Relay, clock: Clock) -> None:
    made = token(finished(relay, "a", webhook_url=None))
    relay.acks.ack(made)
    clock.advance(2 * DAY)
    assert relay.maintenance.purge() == 1

    with pytest.raises(NotFound) as purged:
        relay.acks.ack(made)
    with pytest.raises(NotFound) as guessed:
        relay.acks.ack("A" * 52)
    assert str(purged.value) == str(guessed.value)


def test_a_result_that_was_read_can_be_acked_too(relay: Relay, clock: Clock) -> None:
    """Also without a webhook; a delivery that is opened later stays acknowledged."""
    body = finished(relay, "a", webhook_url=None)
    relay.acks.ack(token(body))
    relay.redeliver(JobRef(request_id="a"), url="https://hook.example/later")
    deliver(relay, clock)

    assert status(relay, "a")["acked"] is not None
    assert unacked(relay) == []


def test_unacked_is_what_was_delivered_and_never_applied(relay: Relay, clock: Clock) -> None:
    """Only in groups that have ever acknowledged; the latest run of each job; newest first."""
    made = token(finished(relay, "acked"))
    for name in ("one", "two"):
        finished(relay, name)
    finished(relay, "elsewhere", group="other")
    deliver(relay, clock)
    finished(relay, "not delivered")
    assert unacked(relay) == [] and relay.queries.overview()["unacked"] == 0
    relay.acks.ack(made)

    assert unacked(relay) == ["two", "one"] and relay.queries.overview()["unacked"] == 2
    assert unacked(relay, group="other") == []
    told = {
        name: relay.queries.job_details(JobRef(request_id=name))["unacked"] for name in ("acked", "one", "elsewhere")
    }
    assert told == {"acked": False, "one": True, "elsewhere": False}
    relay.retry(JobRef(request_id="one"))
    assert unacked(relay) == ["two"] and relay.queries.overview()["unacked"] == 1
    assert relay.queries.job_details(JobRef(request_id="one"))["unacked"] is False


def test_a_group_is_remembered_when_its_acked_jobs_are_gone(relay: Relay, clock: Clock) -> None:
    relay.acks.ack(token(finished(relay, "acked", webhook_url=None)))
    clock.advance(2 * DAY)
    relay.maintenance.purge()
    finished(relay, "new")
    deliver(relay, clock)

    assert unacked(relay) == ["new"]


def test_a_reminder_is_the_same_delivery_once(relay: Relay, store: Store, clock: Clock) -> None:
    """Same webhook-id, same bytes; not early, never twice, not by another process either."""
    made = token(finished(relay, "acked"))
    finished(relay, "forgotten")
    sent = dict(deliver(relay, clock))
    relay.acks.ack(made)
    clock.advance(1790)
    assert relay.acks.remind() == 0
    clock.advance(10)

    assert relay.acks.remind() == 1
    assert relay.acks.remind() == 0
    [(webhook_id, body)] = deliver(relay, clock)
    assert sent[webhook_id] == body and json.loads(body)["requestId"] == "forgotten"
    clock.advance(DAY)
    assert Relay(store, QuietNotifier(), REMIND, rng=random.Random(6)).acks.remind() == 0
    events = [event["event"] for event in relay.queries.job_details(JobRef(request_id="forgotten"))["events"]]
    assert events.count("ack_reminded") == 1 and events.count("delivered") == 2
    assert unacked(relay) == ["forgotten"]


def test_results_for_which_no_reminder_is_sent(relay: Relay, store: Store, clock: Clock) -> None:
    """Acknowledged results, groups that never acknowledge, erased content, earlier runs, and undelivered results."""
    made = [token(finished(relay, name)) for name in ("acked", "later")]
    finished(relay, "other group", group="other")
    finished(relay, "erased", retain=Retain.METADATA)
    finished(relay, "run again")
    deliver(relay, clock)
    finished(relay, "dead")
    deliver(relay, clock, status=400)
    relay.retry(JobRef(request_id="run again"))
    for one in made:
        relay.acks.ack(one)
    clock.advance(3600)

    assert relay.acks.remind() == 0


def test_no_reminder_is_sent_unless_configured(store: Store, clock: Clock) -> None:
    relay = Relay(store, QuietNotifier(), Policy(public_url=PUBLIC), rng=random.Random(7))
    made = token(finished(relay, "acked"))
    finished(relay, "forgotten")
    deliver(relay, clock)
    relay.acks.ack(made)
    clock.advance(DAY / 2)

    assert relay.acks.remind() == 0


def test_an_ack_that_comes_during_the_post_counts(relay: Relay, clock: Clock) -> None:
    """A receiver may apply the result before it answers."""
    body = finished(relay, "a")
    clock.advance(5)
    [sent] = relay.deliveries.claim("w", limit=1, at_once=1)
    relay.acks.ack(token(body))
    relay.deliveries.record_attempt(sent, Reply(status=200))

    assert status(relay, "a")["acked"] is not None
    assert unacked(relay) == []


@pytest.mark.parametrize("engine", ["sqlite"])
def test_unacked_deliveries_are_read_by_their_index_only(store: Store) -> None:
    """A million acknowledged results slow down neither the list nor the reminder: both use an index of the others."""
    listed, args = newest(JobFilter(unacked=True))

    for sql, values in ((listed, tuple(args)), (reminders.UNREMINDED, (0.0, "full", 100))):
        steps = store.read(lambda tx, sql=sql, values=values: tx._run(f"EXPLAIN QUERY PLAN {sql}", values))
        plan = [str(step[3]) for step in steps]
        assert any("deliveries_unacked (grp=?" in step for step in plan), plan
        assert not any(step.startswith("SCAN") and "LIST" not in step for step in plan), plan


def test_many_that_say_it_at_once_are_all_told_the_same(relay: Relay) -> None:
    """A receiver may send the same acknowledgement concurrently."""
    made, start, told = token(finished(relay, "a")), threading.Barrier(16), []

    def say() -> None:
        start.wait(60)
        told.append(relay.acks.ack(made))

    threads = [threading.Thread(target=say) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(told) == 16 and len(set(told)) == 1
