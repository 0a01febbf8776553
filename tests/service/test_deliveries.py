"""Deliveries through the use cases, on a real store: slow-downs, 410, attempts, and secrets in headers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from claude_relay.core.deliveries import destination as rules
from claude_relay.core.deliveries.delivery import DeliveryState, Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, LeaseLost, NotFound
from claude_relay.ports import Store
from claude_relay.services import ClaimedDelivery, JobRef, Relay
from claude_relay.storage.header_encryption import key_path
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

SQLITE = pytest.mark.parametrize("engine", ["sqlite"])
DEAD, LIVE = "https://dead.example", "https://live.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(webhook_schedule=(5.0, 30.0, 300.0)), rng=random.Random(1))


def answered(relay: Relay, *names: str, url: str = f"{DEAD}/x", **fields: object) -> None:
    """Ended jobs with a delivery to that URL."""
    relay.submit_many([a_submission(name, webhook_url=url, **fields) for name in names])
    relay.execution.complete_many([(one, a_completion()) for one in relay.execution.claim("w", limit=len(names))])


def send(relay: Relay, reply: Reply, limit: int = 64) -> list[ClaimedDelivery]:
    """Send all that may be sent now, with that reply."""
    sent = list(relay.deliveries.claim("w", limit=limit))
    for one in sent:
        relay.deliveries.record_attempt(one, reply)
    return sent


def status(relay: Relay, name: str) -> dict[str, object]:
    return relay.queries.status(JobRef(request_id=name))["delivery"]  # type: ignore[no-any-return]


def test_every_try_is_a_row_with_what_came_back_and_what_is_next(relay: Relay, clock: Clock) -> None:
    answered(relay, "r-1")
    clock.advance(2)
    send(relay, Reply(status=503, ms=12, excerpt="x" * 2048))
    clock.advance(10)
    send(relay, Reply(error="dead.example refused the connection", ms=3))
    clock.advance(40)
    send(relay, Reply(status=200, ms=4, excerpt="Accepted"))

    first, second, third = relay.queries.job_details(JobRef(request_id="r-1"))["deliveries"]
    assert (first["statusCode"], first["ms"], first["reply"]) == (503, 12, "x" * 2048)
    assert (second["statusCode"], second["reply"]) == (None, "dead.example refused the connection")
    assert first["at"] < first["nextAttemptAt"] < second["at"] < second["nextAttemptAt"] < third["at"]
    assert (third["statusCode"], third["nextAttemptAt"]) == (200, None)


def test_no_callback_is_due_within_a_second_of_a_202_that_took_its_time(relay: Relay, clock: Clock) -> None:
    """A large bulk takes seconds to reach the disk: its caller has no 202 before a worker can see its jobs."""
    relay.submit(a_submission("r-1", webhook_url=f"{DEAD}/x"))
    clock.advance(3)  # until it was written, and answered
    [one] = relay.execution.claim("w", limit=1)
    clock.advance(0.1)
    relay.execution.complete(one, a_completion())

    clock.advance(0.9)
    assert not relay.deliveries.claim("w", limit=1)
    clock.advance(0.3)
    assert relay.deliveries.claim("w", limit=1)


@SQLITE  # thousands of transactions
def test_a_destination_that_keeps_failing_waits_as_a_whole_and_loses_nothing(relay: Relay, clock: Clock) -> None:
    """A hundred deliveries, an hour of silence: a handful of POSTs; once it answers all arrive, at a bounded pace."""
    names = [f"r-{n}" for n in range(100)]
    answered(relay, *names)
    answered(relay, "live", url=f"{LIVE}/x")
    clock.advance(2)
    posts = 0
    for _ in range(3500):
        for one in relay.deliveries.claim("w", limit=64):
            posts += one.delivery.destination == DEAD
            relay.deliveries.record_attempt(one, Reply(status=200 if one.delivery.destination == LIVE else 503))
        clock.advance(1)

    assert posts < 150
    assert status(relay, "live")["status"] == "delivered"
    waiting = [name for name in names if status(relay, name)["status"] == "pending"]
    assert len(waiting) >= 60  # the others have had all the tries of their schedule
    told = status(relay, waiting[-1])
    assert str(told["waitingFor"]).startswith(f"{DEAD}: failing since ")
    [seen] = relay.queries.overview()["destinations"]
    assert (seen["destination"], seen["state"], seen["waiting"]) == (DEAD, "slowed", len(waiting))

    clock.advance(rules.LONGEST_PAUSE)
    began, delivered = clock.now, 0
    while delivered < len(waiting):
        delivered += len(send(relay, Reply(status=200)))
        clock.advance(0.05)
        assert clock.now - began < 60
    assert (clock.now - began) >= len(waiting) / rules.RECOVERY_RATE * 0.8
    assert all(status(relay, name)["status"] == "delivered" for name in waiting)
    assert relay.queries.overview()["destinations"] == []


def test_the_probe_is_not_always_the_address_that_fails(relay: Relay, clock: Clock) -> None:
    """A new delivery to a working URL of the same host is attempted before those that failed repeatedly."""
    answered(relay, *(f"bad-{n}" for n in range(40)))
    clock.advance(2)
    while not relay.queries.overview()["destinations"]:
        send(relay, Reply(status=500))
        clock.advance(1)
    answered(relay, "good", url=f"{DEAD}/good")
    clock.advance(3)
    [probe] = relay.deliveries.claim("w", limit=64)

    assert probe.request_id == "good"


@SQLITE  # thousands of transactions
def test_one_address_that_always_fails_does_not_starve_its_neighbours(relay: Relay, clock: Clock) -> None:
    """
    One scenario's queue at Make is full, and a job a second ends for it; all others have the same host.

    Each of theirs arrives: at worst when it is the turn of the next probe.
    """
    due, came = {}, {}
    for second in range(600):
        answered(relay, f"full-{second}", url=f"{DEAD}/full")
        if second % 30 == 0:
            answered(relay, f"other-{second}", url=f"{DEAD}/{second}")
            due[f"other-{second}"] = clock.now
        for one in relay.deliveries.claim("w", limit=64):
            full = one.delivery.url.endswith("/full")
            relay.deliveries.record_attempt(
                one, Reply(status=400, excerpt="Queue is full") if full else Reply(status=200)
            )
            came.setdefault(one.request_id, clock.now)
        clock.advance(1)

    assert relay.queries.overview()["destinations"]
    late = [came.get(name, clock.now) - at for name, at in due.items() if at < clock.now - 60]
    assert len(late) == 18
    assert max(late) <= rules.LONGEST_PAUSE + 2


@SQLITE  # thousands of transactions
def test_deliveries_to_a_url_that_always_fails_end_though_others_of_the_host_answer(relay: Relay, clock: Clock) -> None:
    """Replies of others in between do not make it wait for ever: past its schedule it is given up."""
    given_up = 0
    for step in range(600):
        answered(relay, f"full-{step}", url=f"{DEAD}/full")
        if step % 6 == 0:
            answered(relay, f"other-{step}", url=f"{DEAD}/{step}")
        for one in relay.deliveries.claim("w", limit=64):
            full = one.delivery.url.endswith("/full")
            relay.deliveries.record_attempt(
                one, Reply(status=400, excerpt="Queue is full") if full else Reply(status=200)
            )
        clock.advance(10)
        if step % 30 == 29:
            given_up += relay.deliveries.expire_stalled()

    assert given_up > 50
    assert {str(status(relay, f"full-{step}")["status"]) for step in range(200)} == {"dead"}
    assert str(status(relay, "full-599")["status"]) == "pending"


def test_a_failure_goes_to_its_own_address_where_there_is_one(relay: Relay, clock: Clock) -> None:
    both = dict(webhook_url=f"{LIVE}/x", failure_webhook_url=f"{LIVE}/failed")
    urls = {
        "both": both,
        "plain": dict(webhook_url=f"{LIVE}/x"),
        "alone": {**both, "webhook_url": None},
    }
    for end in ("completed", "failed"):
        for name, named in urls.items():
            relay.submit(a_submission(f"{name}-{end}", **named))
            [one] = relay.execution.claim("w", limit=1)
            if end == "completed":
                relay.execution.complete(one, a_completion())
            else:
                relay.execution.fail(one, a_failure(ErrorType.REFUSED, Remedy.FAIL))
    clock.advance(2)
    sent = {
        one.request_id: one.delivery.url.rpartition("/")[2] for one in relay.deliveries.claim("w", limit=9, at_once=9)
    }

    assert sent == {
        "both-completed": "x",
        "plain-completed": "x",
        "both-failed": "failed",
        "plain-failed": "x",
        "alone-failed": "failed",
    }


def test_a_large_answer_is_cut_for_the_webhook_and_whole_at_the_address_it_names(
    store: SqliteStore, clock: Clock
) -> None:
    policy = Policy(callback_max=1024, public_url="https://relay.example/base/")
    relay = Relay(store, QuietNotifier(), policy, rng=random.Random(2))
    relay.submit(a_submission("r-1", webhook_url=f"{DEAD}/x"))
    [one] = relay.execution.claim("w", limit=1)
    relay.execution.complete(one, a_completion("ø" * 4000))
    clock.advance(2)
    [sent] = relay.deliveries.claim("w", limit=1)
    told = json.loads(sent.body)

    assert len(sent.body) <= 1024
    assert (told["responseTruncated"], told["resultUrl"]) == (True, "https://relay.example/base/api/result/r-1")
    assert 0 < len(told["response"]) < 4000 and told["ackUrl"].startswith("https://relay.example/base/ack/")
    assert json.loads(relay.queries.result(JobRef(request_id="r-1")) or b"")["response"] == "ø" * 4000


@SQLITE  # thousands of transactions
def test_a_backlog_of_one_that_never_comes_back_ends_by_itself(relay: Relay, clock: Clock) -> None:
    """When the schedule is over and the destination was silent for an hour they are dead, and can be redelivered."""
    answered(relay, *(f"r-{n}" for n in range(250)))
    clock.advance(2)
    posts = 0
    for _ in range(400):
        posts += len(send(relay, Reply(error="dead.example refused the connection")))
        clock.advance(10)
    assert relay.deliveries.expire_stalled() >= 200

    assert posts < 200
    told = [status(relay, f"r-{n}") for n in range(250)]
    assert {one["status"] for one in told} == {"dead"}
    event = relay.queries.job_details(JobRef(request_id="r-249"))["events"][-1]
    assert event["event"] == "delivery_dead" and "keeps failing since" in event["error"]
    relay.redeliver(JobRef(request_id="r-249"))
    clock.advance(2)
    assert [one.request_id for one in relay.deliveries.claim("w", limit=64)] == ["r-249"]


def test_deliveries_past_their_schedule_are_given_up_behind_a_backlog_of_younger_ones(
    store: Store, clock: Clock
) -> None:
    relay = Relay(store, QuietNotifier(), Policy(webhook_schedule=(7200.0,)), rng=random.Random(7))
    old = [f"old-{n}" for n in range(rules.FAILURES)]
    answered(relay, *old)
    clock.advance(2)
    while not any(one["state"] == "slowed" for one in relay.queries.overview()["destinations"]):
        send(relay, Reply(status=503))
    clock.advance(2000)
    young = [f"young-{n}" for n in range(150)]
    answered(relay, *young)
    clock.advance(rules.lifetime((7200.0,)) - 1000)

    assert relay.deliveries.expire_stalled() == len(old)
    assert {str(status(relay, name)["status"]) for name in old} == {"dead"}
    assert {str(status(relay, name)["status"]) for name in young} == {"pending"}


def test_a_url_that_answers_410_is_dead_at_once_and_warned_about_until_it_accepts_a_delivery(
    relay: Relay, clock: Clock
) -> None:
    answered(relay, "r-1")
    clock.advance(2)
    send(relay, Reply(status=410))
    assert status(relay, "r-1")["status"] == "dead"

    clock.advance(1)
    relay._gone_endpoints._read_at = float("-inf")
    one, other = relay.submit_many(
        [a_submission("r-2", webhook_url=f"{DEAD}/x"), a_submission("r-3", webhook_url=f"{DEAD}/y")]
    )
    assert [len(each.warnings) for each in (one, other)] == [1, 0]  # type: ignore[union-attr]
    assert "webhookUrl answered 410 (gone) at 2027-" in one.warnings[0]  # type: ignore[union-attr]

    relay.redeliver(JobRef(request_id="r-1"))
    send(relay, Reply(status=200))
    relay._gone_endpoints._read_at = float("-inf")
    assert relay.submit(a_submission("r-4", webhook_url=f"{DEAD}/x")).warnings == ()


def test_two_minutes_of_404_are_counted_from_the_first_404(relay: Relay, clock: Clock) -> None:
    """An earlier outage does not shorten the time that a Wait node has."""
    answered(relay, "r-1")
    clock.advance(2)
    for _ in range(3):
        send(relay, Reply(status=503))
        clock.advance(400)
    send(relay, Reply(status=404))

    assert status(relay, "r-1")["status"] == "pending"


SECRET = "very-secret-make-key"


@SQLITE
def test_webhook_headers_are_nowhere_to_be_read(relay: Relay, clock: Clock, path: Path, tmp_path: Path) -> None:
    """Not in record, status and lists, and not in the bytes of the store or of a backup; the receiver gets them."""
    answered(relay, "r-1", webhook_headers={"x-make-apikey": SECRET})
    clock.advance(2)
    relay.backup(tmp_path / "copy.db")
    [one] = relay.deliveries.claim("w", limit=1)
    assert one.headers == {"x-make-apikey": SECRET}

    shown = [
        relay.queries.job_details(JobRef(request_id="r-1")),
        relay.queries.status(JobRef(request_id="r-1")),
        repr(one),
    ]
    assert SECRET not in str(shown)
    files = [file for file in tmp_path.iterdir() if file != key_path(path)]
    assert {path.name, "copy.db"} <= {file.name for file in files}
    assert all(SECRET.encode() not in file.read_bytes() for file in files)
    assert key_path(path).stat().st_mode & 0o777 == 0o640


@SQLITE
def test_without_their_key_a_callback_is_not_sent_without_its_headers(relay: Relay, clock: Clock, path: Path) -> None:
    answered(relay, "r-1", webhook_headers={"x-make-apikey": SECRET})
    key_path(path).unlink()
    clock.advance(2)
    store = SqliteStore(path, clock=clock)
    try:
        [one] = Relay(store, QuietNotifier(), Policy(), rng=random.Random(4)).deliveries.claim("w", limit=1)
        assert one.headers is None
    finally:
        store.close()


def test_headers_go_to_the_receiver_they_were_given_for_and_to_no_other(relay: Relay, clock: Clock) -> None:
    """`redeliver --to` another host must not hand it the first one's key."""
    answered(relay, "r-1", webhook_headers={"x-make-apikey": SECRET})
    clock.advance(2)
    send(relay, Reply(status=200))
    relay.redeliver(JobRef(request_id="r-1"), url="https://other.example/x")
    [one] = relay.deliveries.claim("w", limit=1)
    assert one.headers == {}
    relay.deliveries.record_attempt(one, Reply(status=200))
    relay.redeliver(JobRef(request_id="r-1"), url=f"{DEAD}/elsewhere")
    [one] = relay.deliveries.claim("w", limit=1)

    assert one.headers == {"x-make-apikey": SECRET}


def test_body_and_id_stay_the_same_whatever_happens_to_a_delivery(relay: Relay, clock: Clock) -> None:
    answered(relay, "r-1")
    seen = set()
    for reply in (Reply(status=503), Reply(status=404), Reply(status=403), Reply(status=200)):
        clock.advance(3600)
        [one] = send(relay, reply)
        seen.add((one.delivery.webhook_id, one.body))
        if one.delivery.state is not DeliveryState.PENDING and status(relay, "r-1")["status"] in ("dead", "delivered"):
            relay.redeliver(JobRef(request_id="r-1"), url=f"{LIVE}/other")
    [one] = relay.deliveries.claim("w", limit=1)
    seen.add((one.delivery.webhook_id, one.body))

    assert len(seen) == 1


def test_only_what_is_in_hand_is_renewed(relay: Relay, store: Store, clock: Clock) -> None:
    """A delivery that its sender has lost expires and is sent again, while the worker goes on."""
    answered(relay, "held", "lost")
    clock.advance(2)
    held, lost = sorted(relay.deliveries.claim("w", limit=2), key=lambda one: one.request_id)
    clock.advance(30)
    relay.deliveries.renew([held])
    expiry = {one.id: one.lease.expires_at for one in relay.deliveries.sending() if one.lease}

    assert expiry[held.delivery.id] == expiry[lost.delivery.id] + 30


def test_a_url_that_answered_410_is_forgotten_with_the_tombstones(relay: Relay, clock: Clock) -> None:
    """After 30 days; a purge before that keeps the warning."""
    answered(relay, "r-1")
    clock.advance(2)
    send(relay, Reply(status=410))
    for days, warnings in ((29, 1), (2, 0)):
        clock.advance(days * 86_400)
        relay.maintenance.purge()
        relay._gone_endpoints._read_at = float("-inf")
        assert len(relay.submit(a_submission(f"after-{days}", webhook_url=f"{DEAD}/x")).warnings) == warnings


def test_the_status_of_a_job_names_the_pause_of_its_receiver_and_of_no_other(relay: Relay, clock: Clock) -> None:
    answered(relay, "r-1")
    answered(relay, "r-2", url=f"{LIVE}/x")
    relay.destinations.pause(DEAD)

    assert status(relay, "r-1")["waitingFor"] == f"{DEAD}: paused"
    assert "waitingFor" not in status(relay, "r-2")


def test_a_claim_that_begins_where_the_last_one_did_misses_no_delivery(relay: Relay, clock: Clock) -> None:
    """In any order of ends, releases, failures and redeliveries, of more destinations than are remembered."""
    rng, names, waiting = random.Random(5), [f"r-{n}" for n in range(60)], 60
    for name in names:
        answered(relay, name, url=f"https://h{rng.randrange(40)}.example/x")
        clock.advance(rng.random())
        for one in relay.deliveries.claim("w", limit=4):
            turn = rng.random()
            if turn < 0.3:
                clock.advance(12 * rng.random())
                relay.deliveries.release(one)
            else:
                relay.deliveries.record_attempt(one, Reply(status=503 if turn < 0.6 else 200, ms=1))
        if rng.random() < 0.1 and status(relay, names[0])["status"] == "delivered":
            relay.redeliver(JobRef(request_id=names[0]))
    for _ in range(40):
        clock.advance(31)
        send(relay, Reply(status=200, ms=1))
        waiting = sum(status(relay, name)["status"] != "delivered" for name in names)

    assert waiting == 0


def test_a_step_of_the_clock_hides_no_delivery_for_longer_than_ten_seconds(relay: Relay, clock: Clock) -> None:
    """Another process may store one while the clock is back, and this one looks when it is right again."""
    answered(relay, "first")
    clock.advance(2)
    assert len(send(relay, Reply(status=200, ms=1))) == 1
    clock.advance(-60)
    answered(relay, "second")
    clock.advance(60)
    seconds = 0
    while not send(relay, Reply(status=200, ms=1)):
        clock.advance(1)
        seconds += 1

    assert seconds <= 10


def test_a_clock_that_is_back_for_good_hides_no_delivery(relay: Relay, clock: Clock) -> None:
    answered(relay, "first")
    clock.advance(2)
    send(relay, Reply(status=200, ms=1))
    clock.advance(-60)
    answered(relay, "second")
    clock.advance(2)

    assert len(send(relay, Reply(status=200, ms=1))) == 1


def test_results_are_sent_again_one_by_one_whatever_becomes_of_the_others(relay: Relay, clock: Clock) -> None:
    """Each with its own status code, in the order of the request."""
    answered(relay, "r-1", "r-2")
    clock.advance(2)
    send(relay, Reply(status=200))
    relay.submit(a_submission("waits"))
    r_1, waits, r_2 = (JobRef(request_id=name) for name in ("r-1", "waits", "r-2"))
    refs = [r_1, NotFound("not of this key"), waits, r_2]
    results = relay.bulk.redeliver_many(refs, None, now=clock())

    assert [(each["index"], each["statusCode"], each.get("requestId")) for each in results] == [
        (0, 202, "r-1"), (1, 404, None), (2, 409, "waits"), (3, 202, "r-2"),
    ]  # fmt: skip
    assert results[0]["delivery"]["status"] == "pending" and results[1]["error"]
    assert {sent.request_id for sent in relay.deliveries.claim("w", limit=9)} == {"r-1", "r-2"}


def test_a_post_whose_delivery_was_taken_back_changes_nothing_and_the_others_are_recorded(
    relay: Relay, clock: Clock
) -> None:
    """Another sender has it by now, or it was purged: a lost lease in its place."""
    answered(relay, "r-1", "r-2")
    clock.advance(2)
    first, second = relay.deliveries.claim("w", limit=2)
    relay.deliveries.release(first)
    (lost, recorded), claimed = relay.deliveries.exchange(
        "w", [(first, Reply(status=410)), (second, Reply(status=200))], limit=1
    )

    assert isinstance(lost, LeaseLost) and getattr(recorded, "state", None) is DeliveryState.DELIVERED
    assert [each.request_id for each in claimed] == [first.request_id]
    assert relay.deliveries.sending() == [each.delivery for each in claimed]


def test_a_slowed_destination_that_does_not_fail_gives_no_delivery_up(relay: Relay, store: Store, clock: Clock) -> None:
    """However long its deliveries have waited: it answers now and then."""
    answered(relay, "r-1")
    store.write(lambda tx: tx.save_destination(rules.Destination(name=DEAD, slowed_at=clock(), not_before=2e9)))
    clock.advance(1e6)

    assert relay.deliveries.expire_stalled() == 0
    assert status(relay, "r-1")["status"] == "pending"


def test_a_result_without_a_callback_is_sent_to_the_url_that_is_named(relay: Relay, store: Store, clock: Clock) -> None:
    """It is a delivery like any other, with its id and its first time."""
    relay.submit(a_submission("r", webhook_url=None))
    relay.execution.complete(relay.execution.claim("w", limit=1)[0], a_completion())
    with pytest.raises(Conflict, match="has no webhook"):
        relay.redeliver(JobRef(request_id="r"))
    delivery = relay.redeliver(JobRef(request_id="r"), url="https://new.example/y")

    assert (delivery.url, delivery.due_at, delivery.run) == ("https://new.example/y", clock(), 1)
    [sent] = relay.deliveries.claim("w", limit=1)
    assert (sent.delivery.id, sent.delivery.url) == (delivery.id, delivery.url)


def test_only_the_lease_that_is_named_is_taken_from_a_sender(relay: Relay, clock: Clock) -> None:
    """One that has sent it, or has it again, keeps it."""
    answered(relay, "r-1", "r-2")
    clock.advance(2)
    first, second = relay.deliveries.claim("w", limit=2)
    relay.deliveries.record_attempt(first, Reply(status=200))
    for sent in (first, second):
        relay.deliveries.reap(sent.delivery, "another token")
    relay.deliveries.release(first)

    assert status(relay, first.request_id)["status"] == "delivered"
    assert [each.job_id for each in relay.deliveries.sending()] == [second.delivery.job_id]
