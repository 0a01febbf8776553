"""Transitions of a delivery: the table of replies, and the time of the next attempt (CONTRACT §2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_relay.core.deliveries import transitions
from claude_relay.core.deliveries.delivery import Delivery, DeliveryState, Reply, ReplyClass, classify_reply
from claude_relay.core.jobs.events import EventName
from claude_relay.core.jobs.job import Lease
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, IllegalTransition, LeaseLost

POLICY = Policy(webhook_schedule=(5.0, 30.0, 300.0))


def a_delivery(**fields: object) -> Delivery:
    defaults: dict[str, object] = dict(
        id="d", job_id="j", run=1, webhook_id="msg_d", url="https://Hook.Example:8443/a?b", state=DeliveryState.PENDING,
        version=1, created_at=0.0, due_at=0.0,
    )  # fmt: skip
    return Delivery(**(defaults | fields))  # type: ignore[arg-type]


def send(delivery: Delivery, reply: Reply, now: float, chance: float = 0.0) -> Delivery:
    lease = Lease(worker="w", token="t", expires_at=now + 60)
    claimed = transitions.claim(delivery, lease=lease, now=now).delivery
    return transitions.record_attempt(claimed, reply, token="t", policy=POLICY, now=now, chance=chance).delivery


@pytest.mark.parametrize(
    "status, verdict",
    [
        *((status, ReplyClass.DELIVERED) for status in (200, 201, 202, 204, 299)),
        *((status, ReplyClass.RETRY) for status in (408, 425, 429, 500, 502, 503, 504, 599, None)),
        *((status, ReplyClass.NOT_READY) for status in (404, 409)),
        *((status, ReplyClass.DEAD) for status in (300, 301, 302, 307, 308, 400, 401, 403, 405, 410, 413, 415, 422)),
    ],
)
def test_the_table_of_answers(status: int | None, verdict: ReplyClass) -> None:
    assert classify_reply(Reply(status=status)) is verdict


def test_makes_full_queue_is_retried() -> None:
    assert classify_reply(Reply(status=400, excerpt="Queue is full.")) is ReplyClass.RETRY
    assert classify_reply(Reply(status=400, excerpt="Bad request")) is ReplyClass.DEAD


def test_a_url_that_the_guard_refuses_is_dead() -> None:
    assert classify_reply(Reply(error="private", blocked=True)) is ReplyClass.DEAD


def test_a_schedule_of_n_delays_is_n_plus_one_attempts() -> None:
    delivery, now, waits = a_delivery(), 0.0, []
    while delivery.state is DeliveryState.PENDING:
        delivery = send(delivery, Reply(status=503), now)
        waits.append(delivery.due_at - now)
        now = delivery.due_at

    assert (delivery.state, delivery.attempts) == (DeliveryState.DEAD, 4)
    assert waits[:3] == [5.0, 30.0, 300.0]


def test_jitter_makes_it_later_never_sooner() -> None:
    for chance in (0.0, 0.5, 0.999):
        due = send(a_delivery(), Reply(status=500), 0.0, chance).due_at
        assert 5.0 <= due <= 6.0


def test_never_sooner_than_retry_after() -> None:
    assert send(a_delivery(), Reply(status=429, retry_after=77.0), 0.0).due_at == 77.0
    assert send(a_delivery(), Reply(status=429, retry_after=1.0), 0.0).due_at == 5.0
    assert send(a_delivery(), Reply(status=404, retry_after=77.0), 0.0).due_at == 77.0


def test_a_wait_node_that_does_not_wait_yet_gets_two_minutes() -> None:
    """Retried every few seconds without using up the schedule; then dead."""
    delivery, now = a_delivery(), 0.0
    while delivery.state is DeliveryState.PENDING:
        delivery = send(delivery, Reply(status=404), now)
        assert delivery.due_at - now <= 10 or delivery.state is DeliveryState.DEAD
        now = max(now, delivery.due_at)

    assert delivery.state is DeliveryState.DEAD
    assert 120 <= now <= 130
    assert (delivery.schedule_index, delivery.attempts > 10) == (0, True)


def test_only_the_present_lease_may_record_an_attempt() -> None:
    claimed = transitions.claim(a_delivery(), lease=Lease(worker="w", token="t", expires_at=1.0), now=0.0).delivery
    with pytest.raises(LeaseLost):
        transitions.record_attempt(claimed, Reply(status=200), token="other", policy=POLICY, now=0.0, chance=0.0)
    with pytest.raises(Conflict):
        transitions.claim(claimed, lease=Lease(worker="v", token="u", expires_at=1.0), now=0.0)


def test_an_outage_between_two_404s_takes_nothing_of_the_two_minutes() -> None:
    delivery = send(a_delivery(), Reply(status=404), 0.0)
    delivery = send(delivery, Reply(status=503), 100.0)
    delivery = send(delivery, Reply(status=404), 200.0)

    assert (delivery.state, delivery.not_ready_since) == (DeliveryState.PENDING, 200.0)


def test_redeliver_restarts_the_schedule_under_the_same_id() -> None:
    dead = send(send(send(a_delivery(), Reply(status=503), 0.0), Reply(status=404), 9.0), Reply(status=410), 19.0)
    again = transitions.redeliver(dead, now=50.0).delivery

    assert (dead.state, dead.schedule_index) == (DeliveryState.DEAD, 1)
    assert (again.state, again.due_at, again.schedule_index, again.webhook_id) == (
        DeliveryState.PENDING,
        50.0,
        0,
        "msg_d",
    )
    assert (again.opened_at, again.not_ready_since, again.finished_at) == (50.0, None, None)
    assert again.attempts == 3  # earlier attempts still count
    assert transitions.redeliver(dead, now=50.0, url="https://b.example/x").delivery.url == "https://b.example/x"
    with pytest.raises(Conflict):
        transitions.redeliver(again, now=51.0)


def test_a_destination_is_scheme_host_and_port() -> None:
    assert a_delivery().destination == "https://hook.example:8443"
    assert replace(a_delivery(), url="http://u:p@a.example/x").destination == "http://a.example"


@pytest.mark.parametrize("url", ["https://A.example:443/x", "https://a.example/y", "HTTPS://a.example?z"])
def test_the_usual_port_makes_no_other_destination(url: str) -> None:
    assert replace(a_delivery(), url=url).destination == "https://a.example"
    assert replace(a_delivery(), url="http://a.example:443/x").destination == "http://a.example:443"
    assert replace(a_delivery(), url="http://[::1]:80/x").destination == "http://[::1]"


@pytest.mark.parametrize(
    "reply, name, due_at",
    [
        (Reply(status=200, ms=7), EventName.DELIVERED, None),
        (Reply(status=503), EventName.DELIVERY_DEFERRED, 105.0),
        (Reply(status=410), EventName.DELIVERY_DEAD, None),
    ],
)
def test_an_attempt_is_one_change_with_its_event_and_its_row(
    reply: Reply, name: EventName, due_at: float | None
) -> None:
    claimed = transitions.claim(a_delivery(), lease=Lease(worker="w", token="t", expires_at=160.0), now=100.0)
    assert (claimed.expects, claimed.event.name, claimed.event.version) == (1, EventName.DELIVERING, 2)

    change = transitions.record_attempt(claimed.delivery, reply, token="t", policy=POLICY, now=100.0, chance=0.0)

    assert (change.expects, change.delivery.version, change.event.version) == (2, 3, 3)
    assert (change.event.name, change.event.subject, change.event.job_id) == (name, "d", "j")
    assert change.event.detail["attempt"] == 1 and change.event.detail.get("dueAt") == due_at
    assert change.attempt is not None
    assert (change.attempt.number, change.attempt.reply, change.attempt.next_due) == (1, reply, due_at)


def test_a_released_delivery_has_an_event_of_its_own_and_no_attempt() -> None:
    claimed = transitions.claim(a_delivery(), lease=Lease(worker="w", token="t", expires_at=1.0), now=0.0).delivery
    change = transitions.release(claimed, token="t", now=0.5)

    assert (change.event.name, change.attempt) == (EventName.DELIVERY_RELEASED, None)
    assert (change.delivery.state, change.delivery.attempts) == (DeliveryState.PENDING, 0)


def test_only_a_delivery_that_waits_is_given_up() -> None:
    """One whose destination stays silent ends dead, with the reason; one in flight is left alone."""
    dead = transitions.give_up(a_delivery(), why="silent for 2 d", now=9.0).delivery
    assert (dead.state, dead.last_error, dead.finished_at) == (DeliveryState.DEAD, "silent for 2 d", 9.0)

    for state in (DeliveryState.SENDING, DeliveryState.DELIVERED, DeliveryState.DEAD):
        with pytest.raises(IllegalTransition):
            transitions.give_up(a_delivery(state=state), why="silent", now=9.0)


@pytest.mark.parametrize("fields", [{"state": DeliveryState.DEAD}, {"acked_at": 3.0}, {"reminded_at": 3.0}])
def test_a_reminder_is_for_a_delivered_result_without_an_acknowledgement_once(fields: dict[str, object]) -> None:
    delivered = a_delivery(state=DeliveryState.DELIVERED, finished_at=2.0)
    reminded = transitions.remind(delivered, now=9.0).delivery
    assert (reminded.state, reminded.reminded_at, reminded.due_at) == (DeliveryState.PENDING, 9.0, 9.0)

    with pytest.raises(IllegalTransition):
        transitions.remind(replace(delivered, **fields), now=9.0)  # type: ignore[arg-type]


def test_each_transition_of_a_delivery_has_its_own_event() -> None:
    """CASES M8: with the status, the number of the attempt and the time of the next one."""
    lease = Lease(worker="w", token="t", expires_at=60.0)
    claimed = transitions.claim(a_delivery(attempts=1), lease=lease, now=1.0)
    sending, seen = claimed.delivery, [claimed]
    seen += [
        transitions.record_attempt(sending, reply, token="t", policy=POLICY, now=1.0, chance=0.0)
        for reply in (Reply(status=200, ms=7), Reply(status=503, error="busy"), Reply(status=403))
    ]
    delivered = seen[1].delivery
    seen += [
        transitions.give_up(a_delivery(attempts=1), why="silent", now=1.0),
        transitions.release(sending, token="t", now=1.0),
        transitions.redeliver(delivered, now=1.0),
        transitions.remind(delivered, now=1.0),
    ]

    assert [(change.event.name.value, change.event.detail) for change in seen] == [
        ("delivering", {}),
        ("delivered", {"statusCode": 200, "ms": 7, "error": None, "attempt": 2}),
        ("delivery_deferred", {"statusCode": 503, "ms": 0, "error": "busy", "attempt": 2, "dueAt": 6.0}),
        ("delivery_dead", {"statusCode": 403, "ms": 0, "error": None, "attempt": 2}),
        ("delivery_dead", {"statusCode": None, "ms": 0, "error": "silent", "attempt": 1}),
        ("delivery_released", {}),
        ("redelivered", {}),
        ("ack_reminded", {}),
    ]
    assert {(change.event.job_id, change.event.subject, change.event.at) for change in seen} == {("j", "d", 1.0)}
    assert all(change.event.version == change.delivery.version == change.expects + 1 for change in seen)


@pytest.mark.parametrize(("seconds", "state"), [(119.9, DeliveryState.PENDING), (120.0, DeliveryState.DEAD)])
def test_a_url_that_is_not_there_is_tried_for_two_minutes_and_no_longer(seconds: float, state: DeliveryState) -> None:
    first = send(a_delivery(), Reply(status=404), 0.0)

    assert send(first, Reply(status=404), seconds).state is state


def test_a_schedule_without_a_delay_sends_again_at_once() -> None:
    policy, lease = Policy(webhook_schedule=(0.0,)), Lease(worker="w", token="t", expires_at=60.0)
    claimed = transitions.claim(a_delivery(), lease=lease, now=0.0).delivery
    change = transitions.record_attempt(claimed, Reply(status=503), token="t", policy=policy, now=0.0, chance=0.0)

    assert change.delivery.due_at == 0.0


def test_a_sender_that_lost_its_lease_cannot_release_the_delivery() -> None:
    """Another sender may be sending it."""
    claimed = transitions.claim(a_delivery(), lease=Lease(worker="w", token="t", expires_at=1.0), now=0.0).delivery
    with pytest.raises(LeaseLost):
        transitions.release(claimed, token="other", now=0.5)


def test_a_damaged_address_is_never_sent_to_again() -> None:
    """A redelivery names another address, which is then intact."""
    damaged = a_delivery(state=DeliveryState.DEAD, intact=False)
    with pytest.raises(Conflict, match="damaged"):
        transitions.redeliver(damaged, now=1.0)

    repaired = transitions.redeliver(damaged, now=1.0, url="https://b.example/x").delivery
    assert (repaired.url, repaired.intact) == ("https://b.example/x", True)


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.SENDING])
def test_a_result_on_its_way_goes_to_another_address_only_between_two_attempts(state: DeliveryState) -> None:
    """A waiting delivery takes the new address; one that is being sent this moment is refused."""
    delivery = a_delivery(state=state)
    with pytest.raises(Conflict, match="on its way already"):
        transitions.redeliver(delivery, now=1.0)
    if state is DeliveryState.SENDING:
        with pytest.raises(Conflict, match="this moment"):
            transitions.redeliver(delivery, now=1.0, url="https://b.example/x")
    else:
        assert transitions.redeliver(delivery, now=1.0, url="https://b.example/x").delivery.url == "https://b.example/x"
