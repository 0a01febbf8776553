"""Alerts on a real store: once a cause, by one of several, until it is taken; and again when it comes back."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.deliveries import destination as destinations
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import Policy
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.alert_sender import AlertSender
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission


@pytest.fixture
def disk() -> list[str]:
    """What is wrong with the disk, if anything."""
    return []


@pytest.fixture
def relay(tmp_path: Path, clock: Clock, disk: list[str]) -> Iterator[Relay]:
    store = SqliteStore(tmp_path / "relay.db", clock=clock)
    relay = Relay(store, QuietNotifier(), Policy(), room=lambda: disk[0] if disk else None, rng=random.Random(1))
    relay.alerts._clock = clock
    yield relay
    relay.close()


def raised(relay: Relay, **how: object) -> list[str]:
    return [alert.kind for alert in relay.alerts.evaluate(**how)]  # type: ignore[arg-type]


def answered(relay: Relay, *names: str, url: str = "https://dead.example/x") -> None:
    relay.submit_many([a_submission(name, webhook_url=url) for name in names])
    relay.execution.complete_many([(one, a_completion()) for one in relay.execution.claim("w", limit=len(names))])


def send(relay: Relay, reply: Reply) -> None:
    for one in relay.deliveries.claim("w", limit=64):
        relay.deliveries.record_attempt(one, reply)


def park(relay: Relay) -> None:
    [one] = relay.execution.claim("w", limit=1)
    relay.execution.fail(one, a_failure(ErrorType.PERMISSION, Remedy.PARK))


def test_a_cause_that_ends_and_comes_back_is_told_again(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r-1"))
    park(relay)
    assert (raised(relay), raised(relay)) == (["queue_parked"], [])
    relay.resume()
    assert raised(relay) == []
    clock.advance(10)
    park(relay)

    assert raised(relay) == ["queue_parked"]


def test_what_was_told_survives_a_restart(relay: Relay, clock: Clock, tmp_path: Path) -> None:
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    store = SqliteStore(tmp_path / "relay.db", clock=clock)
    try:
        assert raised(Relay(store, QuietNotifier(), Policy(), rng=random.Random(2))) == []
    finally:
        store.close()


def test_a_hundred_dead_callbacks_are_one_alert_and_next_days_another(relay: Relay, clock: Clock) -> None:
    answered(relay, *(f"r-{n}" for n in range(100)))
    clock.advance(2)
    told = []
    for _ in range(40):
        send(relay, Reply(status=403))
        told += raised(relay)
        clock.advance(1)
    assert told == ["delivery_dead"]

    clock.advance(24 * 3600)
    assert raised(relay) == []
    answered(relay, "later")
    clock.advance(2)
    send(relay, Reply(status=403))
    [alert] = relay.alerts.evaluate()
    assert (alert.count, alert.command) == (1, "claude-relay redeliver --dead --host dead.example")
    assert "it answered 403" in alert.message


def test_a_destination_that_fails_is_told_of_once_and_again_after_it_was_back(relay: Relay, clock: Clock) -> None:
    answered(relay, *(f"r-{n}" for n in range(50)))
    clock.advance(2)
    told = []
    for _ in range(60):
        send(relay, Reply(status=503))
        told += raised(relay)
        clock.advance(1)
    assert told == ["destination_unhealthy"]

    clock.advance(destinations.LONGEST_PAUSE)
    for _ in range(1000):
        send(relay, Reply(status=200))
        clock.advance(30)
    assert (raised(relay), relay.queries.overview()["destinations"]) == ([], [])
    clock.advance(301)
    assert raised(relay) == []
    answered(relay, *(f"s-{n}" for n in range(50)))
    clock.advance(2)
    for _ in range(3):
        send(relay, Reply(status=503))
        clock.advance(10)
    assert raised(relay) == ["destination_unhealthy"]


def test_a_destination_that_answers_now_and_then_is_one_cause(relay: Relay, clock: Clock) -> None:
    """It takes one callback in ten: back for a moment, slowed down again, for as long as anybody looks."""
    answered(relay, *(f"r-{n}" for n in range(400)))
    clock.advance(2)
    told, posts = [], 0
    for _ in range(900):
        for one in relay.deliveries.claim("w", limit=64):
            posts += 1
            relay.deliveries.record_attempt(one, Reply(status=200 if posts % 10 == 0 else 503))
        told += raised(relay)
        clock.advance(2)
    assert posts > 40

    assert told == ["destination_unhealthy"]


def test_a_disk_around_its_floor_does_not_chatter(relay: Relay, clock: Clock, disk: list[str]) -> None:
    told = []
    for _ in range(10):
        disk.append("has 3 MiB left")
        told += raised(relay)
        clock.advance(10)
        disk.clear()
        told += raised(relay)
        clock.advance(10)
    assert told == ["disk_low"]

    clock.advance(301)
    raised(relay)
    disk.append("has 3 MiB left")
    assert raised(relay) == ["disk_low"]


def test_no_worker_is_told_by_whoever_is_there_to_see_it(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r-1"))
    assert raised(relay, watched_for=999.0) == []
    clock.advance(61)
    assert raised(relay, watched_for=30.0) == []
    assert raised(relay, watched_for=90.0) == ["no_worker"]
    told = relay.alerts.claim()
    assert told is not None
    assert json.loads(told.body)["count"] == 1

    relay.maintenance.heartbeat(
        WorkerHeartbeat(id="w", host="h", pid=1, started_at=clock.now, seen_at=clock.now, slots=1, running=0)
    )
    assert raised(relay, watched_for=90.0) == []
    clock.advance(61)
    assert raised(relay, watched_for=90.0) == ["no_worker"]


def test_a_model_that_retires_is_told_of_by_setting_and_by_job(relay: Relay, clock: Clock) -> None:
    day = "2027-01-31T00:00:00Z"
    models = [
        {"id": "claude-old-4-5", "retiresAt": day},
        {"id": "claude-set-4-5", "retiresAt": day},
        {"id": "claude-far-4-5", "retiresAt": "2029-01-31T00:00:00Z"},
        {"id": "claude-unused-4-5", "retiresAt": day},
        {"id": "claude-sonnet-5-5"},
        "rubbish",
    ]
    relay.maintenance.set_shared("models", {"fetchedAt": clock.now, "models": models})
    relay.submit(a_submission("r-1", model="claude-old-4-5"))
    relay.submit(a_submission("r-2", model="claude-far-4-5"))
    found = relay.alerts.evaluate(settings=[("RELAY_MODEL", "claude-set-4-5")])

    assert {alert.cause for alert in found} == {"model_retiring claude-old-4-5", "model_retiring claude-set-4-5"}
    assert any("RELAY_MODEL names it" in alert.message for alert in found)
    assert any("1 of the latest jobs name it" in alert.message for alert in found)


def test_of_several_processes_one_tells_and_a_failing_url_gets_a_few_tries(relay: Relay, clock: Clock) -> None:
    """The same id and the same bytes at every try; one who dies over it is replaced."""
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    first = relay.alerts.claim()
    assert first is not None
    assert relay.alerts.claim() is None  # another process, the same moment
    clock.advance(121)
    again = relay.alerts.claim()  # the first one never came back
    assert again is not None
    assert (again.id, again.body) == (first.id, first.body)

    tries = 2
    while relay.alerts.record_sent(again, taken=False):
        clock.advance(7201)
        later = relay.alerts.claim()
        assert later is not None and later.id == first.id
        again, tries = later, tries + 1
    assert tries == 5
    clock.advance(10**6)
    assert relay.alerts.claim() is None


def test_what_was_taken_is_not_told_again(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    told = relay.alerts.claim()
    assert told is not None
    relay.alerts.record_sent(told, taken=True)
    clock.advance(10**5)

    assert relay.alerts.claim() is None
    assert relay.queries.status(JobRef(request_id="r-1"))["status"] == "pending"


class Out:
    """Answers what it is told to, in the place of RELAY_ALERT_URL."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.ids = reply, []

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply:
        self.ids.append(headers["webhook-id"])
        return self.reply


def missed(relay: Relay, clock: Clock) -> None:
    """A job waits, and no worker has come in a minute."""
    relay.submit(a_submission("r-1"))
    clock.advance(61)
    assert raised(relay, watched_for=90.0) == ["no_worker"]


def seen(relay: Relay, clock: Clock) -> None:
    relay.maintenance.heartbeat(
        WorkerHeartbeat(id="w", host="h", pid=1, started_at=clock.now, seen_at=clock.now, slots=1, running=0)
    )


def test_who_cannot_tell_leaves_word_once_a_minute_for_as_long_as_it_takes(relay: Relay, clock: Clock) -> None:
    left: list[float] = []
    shut_in = AlertSender(relay, Out(Reply()), url=None, leave_word=lambda: left.append(clock.now), clock=clock)
    shut_in._trigger_sending()
    assert left == []  # all is well
    missed(relay, clock)
    began = clock.now
    for _ in range(65):
        shut_in._trigger_sending()
        clock.advance(2)
    assert [round(at - began) for at in left] == [0, 60, 120]

    free = AlertSender(relay, Out(Reply(status=204)), url="https://ops.example/", clock=clock)
    assert free.once() == 1
    clock.advance(61)
    shut_in._trigger_sending()
    assert len(left) == 3


def test_no_word_is_left_while_a_worker_is_there_to_tell(relay: Relay, clock: Clock) -> None:
    """Also where no address is set, and nobody ever will."""
    left: list[float] = []
    shut_in = AlertSender(relay, Out(Reply()), url=None, leave_word=lambda: left.append(clock.now), clock=clock)
    relay.submit(a_submission("r-1"))
    park(relay)
    seen(relay, clock)
    assert raised(relay) == ["queue_parked"]
    shut_in._trigger_sending()
    assert left == []

    clock.advance(61)
    shut_in._trigger_sending()
    assert len(left) == 1


def test_word_that_cannot_be_left_is_tried_again_within_a_minute(relay: Relay, clock: Clock) -> None:
    tries: list[float] = []

    def leave() -> None:
        tries.append(clock.now)
        raise PermissionError("alerts.due")

    shut_in = AlertSender(relay, Out(Reply()), url=None, leave_word=leave, clock=clock)
    missed(relay, clock)
    shut_in._trigger_sending()
    shut_in._trigger_sending()
    clock.advance(61)
    shut_in._trigger_sending()

    assert len(tries) == 2


def test_who_only_comes_to_tell_takes_no_alert_back_and_tells_it_once(relay: Relay, clock: Clock) -> None:
    """It has looked on for no time at all, and believes whoever has."""
    missed(relay, clock)
    url = Out(Reply(status=503))
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 0
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 0  # it is not due yet
    clock.advance(61)
    url.reply = Reply(status=204)
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 1
    clock.advance(10**5)
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 0
    assert len(url.ids) == 2 and len(set(url.ids)) == 1

    seen(relay, clock)
    assert raised(relay) == []  # it is over
    clock.advance(61)
    assert raised(relay, watched_for=90.0) == ["no_worker"]
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 1
    assert len(set(url.ids)) == 2


def test_who_only_comes_to_tell_does_not_stay(relay: Relay, clock: Clock) -> None:
    """Neither without a network, nor where every try takes long."""
    relay.submit(a_submission("r-1"))
    park(relay)
    missed_too = [a_submission(f"r-{number}") for number in range(2, 4)]
    relay.submit_many(missed_too)
    clock.advance(61)
    assert sorted(raised(relay, watched_for=90.0)) == ["no_worker", "queue_parked"]
    shut_in = Out(Reply(error="network is unreachable", local_fault=True))
    assert AlertSender(relay, shut_in, url="https://ops.example/", clock=clock).once() == 0
    assert len(shut_in.ids) == 1

    class Slow(Out):
        def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply:
            clock.advance(61)
            return super().post(url, body, headers)

    slow = Slow(Reply(status=204))
    assert AlertSender(relay, slow, url="https://ops.example/", clock=clock).once() == 1
    assert len(slow.ids) == 1


def test_a_process_without_a_network_uses_up_nobodys_tries(relay: Relay) -> None:
    """It hands the alert back and stands aside; the next one tells it, under the same id."""
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    shut_in, free = Out(Reply(error="network is unreachable", local_fault=True)), Out(Reply(status=204))
    for _ in range(3):
        assert AlertSender(relay, shut_in, url="https://ops.example/")._send_due() >= 60
    told = relay.alerts.claim()
    assert told is not None and told.attempts == 1
    relay.alerts.release(told)
    AlertSender(relay, free, url="https://ops.example/")._send_due()

    assert free.ids == shut_in.ids[:1] and len(set(shut_in.ids)) == 1
    assert relay.alerts.claim() is None
