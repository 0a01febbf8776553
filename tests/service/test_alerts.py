"""Alerts on a real store: once per cause, sent by one process, and again when the cause returns."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claude_relay.core.deliveries import destination as destinations
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.alert_sender import AlertSender
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission


@pytest.fixture
def disk() -> list[str]:
    """The fault of the disk, if any."""
    return []


@pytest.fixture
def relay(tmp_path: Path, clock: Clock, disk: list[str]) -> Iterator[Relay]:
    store = SqliteStore(tmp_path / "relay.db", clock=clock)
    relay = Relay(
        store, QuietNotifier(), Policy(), disk_problem=lambda: disk[0] if disk else None, rng=random.Random(7)
    )
    relay.alerts._clock = clock
    yield relay
    relay.close()


def raised(relay: Relay, **how: object) -> list[str]:
    return [alert.kind for alert in relay.alerts.evaluate(**how)]  # type: ignore[arg-type]


def answered(relay: Relay, *names: str, url: str = "https://dead.example/x") -> None:
    relay.submit_many([a_submission(name, webhook_url=url) for name in names])
    relay.execution.complete_many(
        [(claimed, a_completion()) for claimed in relay.execution.claim("w", limit=len(names))]
    )


def send(relay: Relay, reply: Reply) -> None:
    for claimed in relay.deliveries.claim("w", limit=64):
        relay.deliveries.record_attempt(claimed, reply)


def park(relay: Relay) -> None:
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(ErrorType.PERMISSION, Remedy.PARK))


def test_a_cause_that_returns_is_alerted_again(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r-1"))
    park(relay)
    assert (raised(relay), raised(relay)) == (["queue_parked"], [])
    relay.resume()
    assert raised(relay) == []
    clock.advance(10)
    park(relay)

    assert raised(relay) == ["queue_parked"]


def test_a_restart_repeats_no_alert(relay: Relay, clock: Clock, tmp_path: Path) -> None:
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    store = SqliteStore(tmp_path / "relay.db", clock=clock)
    try:
        assert raised(Relay(store, QuietNotifier(), Policy(), rng=random.Random(2))) == []
    finally:
        store.close()


def test_a_hundred_dead_callbacks_are_one_alert_and_the_next_day_is_another(relay: Relay, clock: Clock) -> None:
    answered(relay, *(f"r-{n}" for n in range(100)))
    clock.advance(2)
    kinds = []
    for _ in range(40):
        send(relay, Reply(status=403))
        kinds += raised(relay)
        clock.advance(1)
    assert kinds == ["delivery_dead"]

    clock.advance(24 * 3600)
    assert raised(relay) == []
    answered(relay, "later")
    clock.advance(2)
    send(relay, Reply(status=403))
    [alert] = relay.alerts.evaluate()
    assert (alert.count, alert.command) == (1, "claude-relay redeliver --dead --host dead.example")
    assert "it answered 403" in alert.message


def test_a_failing_destination_is_alerted_once_and_again_after_it_recovered(relay: Relay, clock: Clock) -> None:
    answered(relay, *(f"r-{n}" for n in range(50)))
    clock.advance(2)
    kinds = []
    for _ in range(60):
        send(relay, Reply(status=503))
        kinds += raised(relay)
        clock.advance(1)
    assert kinds == ["destination_unhealthy"]

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


def test_a_flapping_destination_is_one_cause(relay: Relay, clock: Clock) -> None:
    """It accepts one callback in ten: it recovers for a moment and is slowed again."""
    answered(relay, *(f"r-{n}" for n in range(400)))
    clock.advance(2)
    kinds, posts = [], 0
    for _ in range(900):
        for claimed in relay.deliveries.claim("w", limit=64):
            posts += 1
            relay.deliveries.record_attempt(claimed, Reply(status=200 if posts % 10 == 0 else 503))
        kinds += raised(relay)
        clock.advance(2)
    assert posts > 40

    assert kinds == ["destination_unhealthy"]


def test_a_disk_around_its_limit_is_one_alert(relay: Relay, clock: Clock, disk: list[str]) -> None:
    kinds = []
    for _ in range(10):
        disk.append("has 3 MiB left")
        kinds += raised(relay)
        clock.advance(10)
        disk.clear()
        kinds += raised(relay)
        clock.advance(10)
    assert kinds == ["disk_low"]

    clock.advance(301)
    raised(relay)
    disk.append("has 3 MiB left")
    assert raised(relay) == ["disk_low"]


def test_a_missing_worker_is_alerted_by_a_process_that_ran_long_enough(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r-1"))
    assert raised(relay, watched_for=999.0) == []
    clock.advance(61)
    assert raised(relay, watched_for=30.0) == []
    assert raised(relay, watched_for=90.0) == ["no_worker"]
    alert = relay.alerts.claim()
    assert alert is not None
    assert json.loads(alert.body)["count"] == 1

    relay.maintenance.heartbeat(
        WorkerHeartbeat(id="w", host="h", pid=1, started_at=clock.now, seen_at=clock.now, slots=1, running=0)
    )
    assert raised(relay, watched_for=90.0) == []
    clock.advance(61)
    assert raised(relay, watched_for=90.0) == ["no_worker"]


def test_a_retiring_model_is_alerted_by_setting_and_by_job(relay: Relay, clock: Clock) -> None:
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
    alerts = relay.alerts.evaluate(settings=[("RELAY_MODEL", "claude-set-4-5")])

    assert {alert.cause for alert in alerts} == {"model_retiring claude-old-4-5", "model_retiring claude-set-4-5"}
    assert any("RELAY_MODEL names it" in alert.message for alert in alerts)
    assert any("1 of the latest jobs name it" in alert.message for alert in alerts)


def test_one_process_sends_an_alert_and_a_failing_url_gets_a_few_attempts(relay: Relay, clock: Clock) -> None:
    """With the same id and bytes at every attempt; a process that dies is replaced."""
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


def test_a_sent_alert_is_not_sent_again(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    alert = relay.alerts.claim()
    assert alert is not None
    relay.alerts.record_sent(alert, taken=True)
    clock.advance(10**5)

    assert relay.alerts.claim() is None
    assert relay.queries.status(JobRef(request_id="r-1"))["status"] == "pending"


class FakeSender:
    """A sender with a fixed reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.ids, self.bodies = reply, [], []

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply:
        self.ids.append(headers["webhook-id"])
        self.bodies.append(json.loads(body))
        return self.reply


def without_worker(relay: Relay, clock: Clock) -> None:
    """A job waits, and there has been no worker for a minute."""
    relay.submit(a_submission("r-1"))
    clock.advance(61)
    assert raised(relay, watched_for=90.0) == ["no_worker"]


def with_worker(relay: Relay, clock: Clock) -> None:
    relay.maintenance.heartbeat(
        WorkerHeartbeat(id="w", host="h", pid=1, started_at=clock.now, seen_at=clock.now, slots=1, running=0)
    )


def test_a_process_without_network_sets_the_trigger_once_a_minute(relay: Relay, clock: Clock) -> None:
    set_at: list[float] = []
    offline = AlertSender(relay, FakeSender(Reply()), url=None, trigger=lambda _: set_at.append(clock.now), clock=clock)
    offline._trigger_sending()
    assert set_at == []  # all is well
    without_worker(relay, clock)
    began = clock.now
    for _ in range(65):
        offline._trigger_sending()
        clock.advance(2)
    assert [round(at - began) for at in set_at] == [0, 60, 120]

    online = AlertSender(relay, FakeSender(Reply(status=204)), url="https://ops.example/", clock=clock)
    assert online.once() == 1
    clock.advance(61)
    offline._trigger_sending()
    assert len(set_at) == 3


def test_the_trigger_is_not_set_while_a_worker_can_send(relay: Relay, clock: Clock) -> None:
    """Also without RELAY_ALERT_URL."""
    set_at: list[float] = []
    offline = AlertSender(relay, FakeSender(Reply()), url=None, trigger=lambda _: set_at.append(clock.now), clock=clock)
    relay.submit(a_submission("r-1"))
    park(relay)
    with_worker(relay, clock)
    assert raised(relay) == ["queue_parked"]
    offline._trigger_sending()
    assert set_at == []

    clock.advance(61)
    offline._trigger_sending()
    assert len(set_at) == 1


def test_a_trigger_that_fails_is_set_again_within_a_minute(relay: Relay, clock: Clock) -> None:
    tries: list[float] = []

    def leave(_: float | None) -> None:
        tries.append(clock.now)
        raise PermissionError("alerts.due")

    offline = AlertSender(relay, FakeSender(Reply()), url=None, trigger=leave, clock=clock)
    without_worker(relay, clock)
    offline._trigger_sending()
    offline._trigger_sending()
    clock.advance(61)
    offline._trigger_sending()

    assert len(tries) == 2


def test_a_single_run_resolves_no_alert_and_sends_it_once(relay: Relay, clock: Clock) -> None:
    """Its uptime is 0, so it keeps the alerts of processes that ran longer."""
    without_worker(relay, clock)
    url = FakeSender(Reply(status=503))
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 0
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 0  # it is not due yet
    clock.advance(61)
    url.reply = Reply(status=204)
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 1
    clock.advance(10**5)
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 0
    assert len(url.ids) == 2 and len(set(url.ids)) == 1

    with_worker(relay, clock)
    assert raised(relay) == []  # it is over
    clock.advance(61)
    assert raised(relay, watched_for=90.0) == ["no_worker"]
    assert AlertSender(relay, url, url="https://ops.example/", clock=clock).once() == 2  # its end, and the new one
    assert len(set(url.ids)) == 3


def test_a_single_run_ends_soon(relay: Relay, clock: Clock) -> None:
    """Also without a network, and where every attempt takes long."""
    relay.submit(a_submission("r-1"))
    park(relay)
    more = [a_submission(f"r-{number}") for number in range(2, 4)]
    relay.submit_many(more)
    clock.advance(61)
    assert sorted(raised(relay, watched_for=90.0)) == ["no_worker", "queue_parked"]
    offline = FakeSender(Reply(error="network is unreachable", local_fault=True))
    assert AlertSender(relay, offline, url="https://ops.example/", clock=clock).once() == 0
    assert len(offline.ids) == 1

    class Slow(FakeSender):
        def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply:
            clock.advance(61)
            return super().post(url, body, headers)

    slow = Slow(Reply(status=204))
    assert AlertSender(relay, slow, url="https://ops.example/", clock=clock).once() == 1
    assert len(slow.ids) == 1


def test_a_process_without_a_network_uses_up_no_attempts(relay: Relay) -> None:
    """It releases the alert, and the next process sends it with the same id."""
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    offline, online = FakeSender(Reply(error="network is unreachable", local_fault=True)), FakeSender(Reply(status=204))
    for _ in range(3):
        assert AlertSender(relay, offline, url="https://ops.example/")._send_due() >= 60
    alert = relay.alerts.claim()
    assert alert is not None and alert.attempts == 1
    relay.alerts.release(alert)
    AlertSender(relay, online, url="https://ops.example/")._send_due()

    assert online.ids == offline.ids[:1] and len(set(offline.ids)) == 1
    assert relay.alerts.claim() is None


@pytest.mark.parametrize("accepted", [True, False])
def test_the_end_of_each_cause_is_a_notice(relay: Relay, clock: Clock, accepted: bool) -> None:
    """CASES A18: one notice, with the fields of the alert; it replaces an alert that was not accepted yet."""
    relay.submit(a_submission("r-1"))
    park(relay)
    raised(relay)
    alert = relay.alerts.claim()
    assert alert is not None
    relay.alerts.record_sent(alert, taken=accepted)
    relay.resume()
    ends: list[object] = []
    assert raised(relay, on_resolved=lambda notice: ends.append(notice["cause"])) == []
    notice = relay.alerts.claim()
    assert notice is not None and notice.id != alert.id
    first, last = json.loads(alert.body), json.loads(notice.body)

    assert (first["status"], last["status"], ends) == ("open", "resolved", ["queue_parked"])
    assert {name: last[name] for name in ("alert", "cause", "since", "count")} == {
        name: first[name] for name in ("alert", "cause", "since", "count")
    }
    assert last["message"].startswith("Resolved: ") and first["message"] in last["message"]
    relay.alerts.record_sent(notice, taken=True)
    clock.advance(10**5)
    assert relay.alerts.claim() is None


class AwayStore:
    """The use cases of alerts on a store that can be switched off, with the living workers of this machine."""

    def __init__(self, relay: Relay, *workers: str) -> None:
        self._alerts, self.workers, self.away = relay.alerts, workers, False

    def evaluate(self, **how: Any) -> Any:
        if self.away:
            raise StoreUnavailable("the server does not answer")
        return self._alerts.evaluate(**how)

    def living_workers(self, host: str) -> Any:
        return self.workers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alerts, name)


def test_an_outage_of_the_store_is_one_alert_and_one_notice_by_one_process(relay: Relay, clock: Clock) -> None:
    """CASES A3: kept in memory while the store is away; the notice of the end is sent by way of the store."""
    away = AwayStore(relay, "w1", "w2")
    facade: Any = SimpleNamespace(alerts=away)
    urls = [FakeSender(Reply(status=204)) for _ in range(3)]
    senders = [
        AlertSender(facade, url, url="https://ops.example/", worker=worker, clock=clock)
        for worker, url in zip(("w1", "w2", None), urls, strict=True)
    ]

    def look(times: int) -> None:
        for _ in range(times):
            for sender in senders:
                sender._evaluate()
                if sender._in_memory is not None or not away.away:
                    sender._send_due()
            clock.advance(2)

    look(1)
    away.away = True
    look(5)
    assert [url.ids for url in urls] == [[], [], []]  # a restart of the server is no alert
    look(60)
    assert [len(url.ids) for url in urls] == [1, 0, 0]
    away.away = False
    look(3)

    assert sum(len(url.ids) for url in urls) == 2
    kinds = [(body["alert"], body["status"]) for url in urls for body in url.bodies]
    assert kinds == [("store_away", "open"), ("store_away", "resolved")]


def test_the_end_of_an_outage_in_which_the_process_was_restarted_is_told_too(
    relay: Relay, clock: Clock, tmp_path: Path
) -> None:
    """CASES A3 and A18: once, by the process that starts later; one that lives keeps its own alert."""
    away = AwayStore(relay, "w1")
    facade: Any = SimpleNamespace(alerts=away)
    first, url = FakeSender(Reply(status=204)), FakeSender(Reply(status=204))
    before = AlertSender(facade, first, url="https://ops.example/", worker="w1", clock=clock, folder=tmp_path)
    before._evaluate()
    away.away = True
    for _ in range(10):
        before._evaluate()
        clock.advance(2)
    before._send_due()
    away.away = False
    after = [AlertSender(facade, url, url="https://ops.example/", clock=clock, folder=tmp_path) for _ in range(2)]
    after[0].once()
    assert url.bodies == []
    os.close(before._kept._handle or 0)  # as its process ends
    for sender in after:
        sender.once()

    assert [(body["alert"], body["status"]) for body in (*first.bodies, *url.bodies)] == [
        ("store_away", "open"),
        ("store_away", "resolved"),
    ]
    assert not list(tmp_path.glob("alert.*"))


def test_an_alert_that_reached_nobody_has_no_notice_of_its_end(relay: Relay, clock: Clock) -> None:
    """A sibling of CASES A1: the folder of the trigger is gone with the store, and another daemon sends the alert."""
    away = AwayStore(relay)
    facade: Any = SimpleNamespace(alerts=away)

    def leave(since: float | None) -> None:
        raise FileNotFoundError("alerts.due")

    api = AlertSender(facade, FakeSender(Reply()), url=None, trigger=leave, clock=clock)
    api._evaluate()
    away.away = True
    for _ in range(10):
        api._evaluate()
        clock.advance(2)
    api._trigger_sending()
    away.away = False
    api._evaluate()

    assert relay.alerts.claim() is None


def test_each_trigger_of_an_outage_names_its_beginning(relay: Relay, clock: Clock) -> None:
    """CASES A3, an API without a network and without a worker: the process that it triggers sends one alert for it."""
    away = AwayStore(relay)
    triggers: list[float | None] = []
    facade: Any = SimpleNamespace(alerts=away)
    api = AlertSender(facade, FakeSender(Reply()), url=None, trigger=triggers.append, clock=clock)
    api._evaluate()
    away.away = True
    for _ in range(4000):
        api._evaluate()
        if api._in_memory is not None:
            api._trigger_sending()
        clock.advance(2)

    assert len(triggers) > 1 and len(set(triggers)) == 1 and triggers[0] is not None


def test_an_api_that_failed_is_an_alert_until_it_starts(relay: Relay, clock: Clock) -> None:
    """CASES A13: systemd leaves word of it; each machine is a cause of its own, and the first time counts."""
    relay.alerts.record_api_failure("one", clock.now - 60)
    relay.alerts.record_api_failure("two", clock.now)
    relay.alerts.record_api_failure("one", clock.now)
    [first, _] = relay.alerts.evaluate()
    assert (first.kind, first.cause, first.since) == ("no_api", "no_api one", clock.now - 60)

    ends: list[object] = []
    relay.alerts.record_api_start("one")
    relay.alerts.record_api_start("three")
    assert raised(relay, on_resolved=lambda notice: ends.append(notice["cause"])) == []
    assert ends == ["no_api one"]
