"""The delivery sender on a real store, with a scripted receiver."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Delivery, Reply
from claude_relay.core.deliveries.destination import CLAIMED_AHEAD, MAX_CONCURRENT
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import ClaimedDelivery, JobRef, Relay
from claude_relay.services.deliveries import SentReply
from claude_relay.storage.header_encryption import key_path
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.webhooks.error_text import EXCERPT
from claude_relay.worker import delivery_sender
from claude_relay.worker.delivery_sender import DeliverySender
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.eventually import eventually

KEY = "very-secret-make-key"


class Echo:
    """Answers with the headers that it got."""

    def __init__(self) -> None:
        self.posts: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.posts.append(headers["webhook-id"])
        self.hold.wait(60)
        return Reply(status=200, ms=1, excerpt=json.dumps(dict(headers)))


class LongEcho(Echo):
    """The same, preceded by so much text that the stored excerpt ends within the key."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        reply = super().post(url, body, headers)
        upto = reply.excerpt.index(KEY) + len(KEY) - 3
        return replace(reply, excerpt=("." * EXCERPT + reply.excerpt[:upto])[-EXCERPT:])


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    monkeypatch.setattr(delivery_sender, "_STORE_PAUSE", 0.05)
    relay = Relay(
        SqliteStore(tmp_path / "relay.db"),
        QuietNotifier(),
        Policy(delivery_delay=0.0, webhook_lease=1.0),
        rng=random.Random(1),
    )
    yield relay
    relay.close()


@pytest.fixture
def echo(relay: Relay) -> Iterator[Echo]:
    """A receiver with a running sender."""
    echo = Echo()
    senders = DeliverySender(relay, echo, worker="w")
    senders.start()
    yield echo
    echo.hold.set()
    senders.stop(60)


def answered(relay: Relay, name: str, **fields: object) -> None:
    relay.submit(a_submission(name, **fields))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())


def delivered(relay: Relay, name: str) -> bool:
    status: dict[str, dict[str, object]] = relay.queries.status(JobRef(request_id=name))
    return status["delivery"]["status"] == "delivered"


def expiry(relay: Relay) -> float:
    """The expiry of the only lease."""
    [lease] = [delivery.lease for delivery in relay.deliveries.sending()]
    assert lease is not None
    return lease.expires_at


def test_a_reply_is_kept_while_the_store_cannot_be_written(
    relay: Relay, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk for a while: still one POST, and it is recorded as accepted."""
    exchange, failures = relay.deliveries.exchange, [StoreUnavailable("the disk is full")] * 5

    def full(worker: str, replies: Sequence[SentReply], **more: Any) -> Any:
        if replies and failures:
            raise failures.pop()
        return exchange(worker, replies, **more)

    monkeypatch.setattr(relay.deliveries, "exchange", full)
    answered(relay, "r-1")
    eventually(lambda: delivered(relay, "r-1"))

    assert not failures
    assert len(echo.posts) == 1


def test_a_receivers_echo_puts_no_key_into_the_record(relay: Relay, echo: Echo) -> None:
    answered(relay, "r-1", webhook_headers={"x-make-apikey": KEY})
    eventually(lambda: delivered(relay, "r-1"))
    [post] = relay.queries.job_details(JobRef(request_id="r-1"))["deliveries"]

    assert "x-make-apikey" in post["reply"] and "[redacted]" in post["reply"]
    assert KEY not in str(relay.queries.job_details(JobRef(request_id="r-1")))


def test_an_echo_cut_off_within_the_key_is_redacted_too(relay: Relay) -> None:
    senders = DeliverySender(relay, LongEcho(), worker="w")
    senders.start()
    try:
        answered(relay, "r-1", webhook_headers={"x-make-apikey": KEY})
        eventually(lambda: delivered(relay, "r-1"))
    finally:
        senders.stop(60)
    [post] = relay.queries.job_details(JobRef(request_id="r-1"))["deliveries"]

    assert post["reply"].endswith('"x-make-apikey": "[redacted]')


def test_without_its_headers_a_callback_is_not_sent_and_the_record_has_the_reason(tmp_path: Path, echo: Echo) -> None:
    """Their key file is missing: without them it would be refused, or accepted by the wrong receiver."""
    path = tmp_path / "other.db"
    first = Relay(SqliteStore(path), QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(2))
    answered(first, "r-1", webhook_headers={"x-make-apikey": KEY})
    first.close()
    key_path(path).unlink()
    relay = Relay(SqliteStore(path), QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(3))
    senders = DeliverySender(relay, echo, worker="w")
    senders.start()
    try:
        [post] = eventually(lambda: relay.queries.job_details(JobRef(request_id="r-1"))["deliveries"])
    finally:
        senders.stop(60)
        relay.close()

    assert echo.posts == []
    assert "its webhookHeaders cannot be read" in post["reply"] and post["nextAttemptAt"] is not None


def test_a_post_in_flight_is_renewed_for_as_long_as_it_takes(relay: Relay, echo: Echo) -> None:
    """For several leases; then the sender that had it records the attempt."""
    echo.hold.clear()
    answered(relay, "r-1")
    eventually(lambda: echo.posts)
    first = expiry(relay)
    eventually(lambda: expiry(relay) > first + 2)
    echo.hold.set()
    eventually(lambda: delivered(relay, "r-1"))

    assert len(echo.posts) == 1


def test_a_delivery_whose_sender_failed_is_not_renewed(
    relay: Relay, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fault while recording, its lease expires, so that maintenance has it sent again."""

    exchange = relay.deliveries.exchange

    def broken(sent: ClaimedDelivery, reply: Reply) -> Delivery:
        raise ZeroDivisionError

    def broken_together(worker: str, replies: Sequence[SentReply], **more: Any) -> Any:
        return 1 // 0 if replies else exchange(worker, replies, **more)

    monkeypatch.setattr(relay.deliveries, "record_attempt", broken)
    monkeypatch.setattr(relay.deliveries, "exchange", broken_together)
    answered(relay, "r-1")
    eventually(lambda: echo.posts)
    renewed: list[int] = []
    renew = relay.deliveries.renew

    def counted(sent: list[ClaimedDelivery]) -> None:
        renewed.append(len(sent))
        renew(sent)

    monkeypatch.setattr(relay.deliveries, "renew", counted)
    eventually(lambda: len(renewed) >= 3)

    assert renewed[-1] == 0
    assert len(relay.deliveries.sending()) == 1  # not taken back yet


def test_replies_are_recorded_together_with_the_next_claim(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim waits a moment for the POSTs in flight, so that those that end together and their successors share it."""
    echo, now, exchanges = Echo(), [0.0], []
    exchange = relay.deliveries.exchange

    def counted(worker: str, replies: Sequence[SentReply], **more: Any) -> Any:
        exchanges.append(len(replies))
        return exchange(worker, replies, **more)

    monkeypatch.setattr(relay.deliveries, "exchange", counted)
    senders = DeliverySender(relay, echo, worker="w", monotonic=lambda: now[0])
    echo.hold.clear()
    for number in range(6):
        answered(relay, f"r-{number}")
    assert senders._round() == 0.0
    eventually(lambda: len(echo.posts) == MAX_CONCURRENT)
    echo.hold.set()
    eventually(lambda: len(senders._replies) == MAX_CONCURRENT)

    assert 0 < senders._round() < 0.1
    assert exchanges == [0]

    now[0] = 1.0
    senders._round()
    assert exchanges == [0, MAX_CONCURRENT]
    eventually(lambda: len(echo.posts) == 6)
    eventually(lambda: len(senders._replies) == 2)
    now[0] = 2.0
    senders._round()
    assert exchanges == [0, MAX_CONCURRENT, 2]
    assert all(delivered(relay, f"r-{number}") for number in range(6))
    senders.stop(60)


def test_a_reply_that_comes_during_the_stop_is_recorded(relay: Relay) -> None:
    """By the thread that sent it, as no claim follows."""
    echo = Echo()
    echo.hold.clear()
    senders = DeliverySender(relay, echo, worker="w")
    senders.start()
    answered(relay, "r-1")
    eventually(lambda: echo.posts)
    threading.Timer(0.2, echo.hold.set).start()
    senders.stop(60)

    assert delivered(relay, "r-1")


def test_a_failed_post_frees_no_capacity_before_its_failure_is_recorded(relay: Relay) -> None:
    """A destination that begins to fail gets no delivery for it in that commit; the slot of a good reply is filled."""
    for number in range(9):
        answered(relay, f"r-{number}")
    sent = relay.deliveries.claim("w", limit=64, senders=64)
    replies = [(item, Reply(status=status, ms=1)) for item, status in zip(sent, (200, 503, 200, 503), strict=True)]
    recorded, claimed = relay.deliveries.exchange("w", replies, limit=64)

    assert [delivery.state.value for delivery in recorded] == ["delivered", "pending", "delivered", "pending"]
    assert len(claimed) == 2


def test_a_long_post_does_not_hold_back_the_others(relay: Relay) -> None:
    """Once the moment is over, due deliveries are claimed beside it."""
    echo, now = Echo(), [0.0]
    senders = DeliverySender(relay, echo, worker="w", monotonic=lambda: now[0])
    echo.hold.clear()
    answered(relay, "r-1")
    senders._round()
    answered(relay, "r-2")
    now[0] = 1.0
    senders._round()

    eventually(lambda: len(echo.posts) == 2)
    echo.hold.set()
    senders.stop(60)


class Counting(Echo):
    """Counts the POSTs at once; replies with a status of its own to those after the first `good`."""

    def __init__(self, good: int = 1_000) -> None:
        super().__init__()
        self._lock, self._now, self.most, self._good = threading.Lock(), 0, 0, good

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            status = 200 if len(self.posts) < self._good else 503
        try:
            return replace(super().post(url, body, headers), status=status)
        finally:
            with self._lock:
                self._now -= 1


def test_callbacks_to_a_receiver_that_answers_at_once_share_commits(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 17 item 3: once it answered, 32 callbacks take two claims, and it still gets four at a time."""
    receiver, now, claims = Counting(), [0.0], []
    exchange = relay.deliveries.exchange

    def counted(worker: str, replies: Sequence[SentReply], **more: Any) -> Any:
        result = exchange(worker, replies, **more)
        claims.append(len(result[1]))
        return result

    monkeypatch.setattr(relay.deliveries, "exchange", counted)
    senders = DeliverySender(relay, receiver, worker="w", monotonic=lambda: now[0])
    total = MAX_CONCURRENT + 2 * CLAIMED_AHEAD
    for number in range(total):
        answered(relay, f"r-{number}")
    for _ in range(4):
        now[0] += 1.0
        senders._round()
        eventually(lambda: len(senders._replies) == len(senders._in_flight))

    assert claims == [MAX_CONCURRENT, CLAIMED_AHEAD, CLAIMED_AHEAD, 0]
    assert receiver.most <= MAX_CONCURRENT
    assert all(delivered(relay, f"r-{number}") for number in range(total))
    senders.stop(60)


def test_two_workers_at_one_quick_destination_do_not_share_each_commit(relay: Relay) -> None:
    """Issue 14 item 2: beside one callback of another worker, this one makes three POSTs at a time of eleven leases."""
    receiver, now = Counting(), [0.0]
    senders = DeliverySender(relay, receiver, worker="w", monotonic=lambda: now[0])
    for number in range(MAX_CONCURRENT + CLAIMED_AHEAD):
        answered(relay, f"r-{number}")
    [held] = relay.deliveries.claim("other", limit=1)
    senders._round()
    eventually(lambda: len(senders._replies) == MAX_CONCURRENT - 1)
    receiver.hold.clear()
    now[0] += 1.0
    senders._round()

    eventually(lambda: len(receiver.posts) == 2 * (MAX_CONCURRENT - 1))
    assert len(relay.deliveries.sending()) == 1 + CLAIMED_AHEAD * 3 // 4 - 1
    assert not relay.deliveries.claim("other", limit=MAX_CONCURRENT), "until few of the leases are left"
    receiver.hold.set()
    eventually(lambda: len(receiver.posts) == MAX_CONCURRENT - 1 + CLAIMED_AHEAD * 3 // 4 - 1)
    relay.deliveries.release(held)
    senders.stop(60)

    assert receiver.most == MAX_CONCURRENT - 1


@pytest.mark.parametrize("stopped", [False, True])
def test_callbacks_leased_ahead_are_released_once_one_fails_or_the_worker_stops(relay: Relay, stopped: bool) -> None:
    """Issue 17 item 3: a receiver that begins to fail gets no more than the four that are on their way."""
    receiver, now = Counting(good=2 * MAX_CONCURRENT if stopped else MAX_CONCURRENT), [0.0]
    senders = DeliverySender(relay, receiver, worker="w", monotonic=lambda: now[0])
    for number in range(MAX_CONCURRENT + CLAIMED_AHEAD):
        answered(relay, f"r-{number}")
    senders._round()
    eventually(lambda: len(senders._replies) == MAX_CONCURRENT)
    receiver.hold.clear()
    now[0] = 1.0
    senders._round()
    eventually(lambda: len(receiver.posts) == 2 * MAX_CONCURRENT)
    assert len(relay.deliveries.sending()) == CLAIMED_AHEAD

    if stopped:
        senders.stop(0)
    receiver.hold.set()
    eventually(lambda: len(relay.deliveries.sending()) == (0 if stopped else MAX_CONCURRENT))
    senders.stop(60)

    assert len(receiver.posts) == 2 * MAX_CONCURRENT
