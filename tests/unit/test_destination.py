"""Destinations: slow-down, probes and recovery, and the allocation of a worker's senders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_relay.core.deliveries import destination as rules
from claude_relay.core.deliveries.delivery import Delivery, DeliveryState, Reply
from claude_relay.core.deliveries.destination import (
    CLAIMED_AHEAD,
    FAILURES,
    MAX_CONCURRENT,
    Destination,
    DueDestination,
    HealthSignal,
)

HERE = "https://hook.example"
FAILED = Reply(status=503)
OK = Reply(status=200)


def after(replies: list[Reply], known: Destination | None = None, *, now: float = 0.0) -> Destination | None:
    for reply in replies:
        known = rules.record_reply(known, HERE, reply, now=now, chance=0.0)
    return known


def slowed(now: float = 0.0) -> Destination:
    known = after([FAILED] * FAILURES, now=now)
    assert known is not None and known.slowed
    return known


@pytest.mark.parametrize(
    "reply, sign",
    [
        *((Reply(status=status), HealthSignal.ALIVE) for status in (200, 204, 301, 400, 401, 404, 409, 410, 422)),
        *((Reply(status=status), HealthSignal.FAILING) for status in (408, 425, 429, 500, 502, 503, 504)),
        (Reply(status=400, excerpt="Queue is full"), HealthSignal.FAILING),
        (Reply(error="refused the connection"), HealthSignal.FAILING),
        (Reply(error="could not be looked up: its name servers gave no answer", local_fault=True), HealthSignal.NONE),
        (Reply(error="points at 10.0.0.1", blocked=True), HealthSignal.NONE),
    ],
)
def test_the_health_signal_of_a_reply(reply: Reply, sign: HealthSignal) -> None:
    """A destination that refuses one URL answers; and a local fault is not the receiver's."""
    assert rules.health_signal(reply) is sign


def test_a_few_failures_change_nothing_and_one_answer_ends_the_row() -> None:
    """One URL that always fails does not slow down others of its host that answer."""
    known = after([FAILED] * (FAILURES - 1))

    assert known is not None and not known.slowed
    assert rules.capacity(known, busy=0, now=0.0) == MAX_CONCURRENT
    assert after([OK], known) is None
    assert after([*[FAILED] * (FAILURES - 1), OK] * 5) is None


def test_local_faults_never_count() -> None:
    local = Reply(error="no resolver", local_fault=True)

    assert after([local] * 100) is None
    assert after([FAILED, local]) == after([FAILED])  # and they end no row of failures either


def test_after_repeated_failures_there_is_one_probe_at_a_time() -> None:
    """None until the pause is over; then one, and no other while it is being sent."""
    known = slowed()

    assert rules.capacity(known, busy=0, now=known.not_before - 0.01) == 0
    assert rules.capacity(known, busy=0, now=known.not_before) == 1
    assert rules.capacity(known, busy=1, now=known.not_before) == 0


def test_the_pauses_between_probes_grow_up_to_the_longest() -> None:
    known, pauses = slowed(), []
    for _ in range(10):
        now = known.not_before
        again = after([FAILED], known, now=now)
        assert again is not None
        known = again
        pauses.append(known.not_before - now)

    assert (slowed().probes, slowed().not_before, known.probes) == (0, rules.FIRST_PAUSE / 2, 10)
    assert pauses == sorted(pauses)
    assert pauses[0] == rules.FIRST_PAUSE and pauses[-1] == rules.LONGEST_PAUSE / 2  # chance 0: the shorter half
    assert known.failing_since == 0.0


def test_a_delivery_sent_before_the_slow_down_is_no_probe() -> None:
    known = slowed()
    late = after([FAILED] * 3, known, now=known.not_before - 0.1)

    assert late is not None
    assert (late.probes, late.not_before) == (known.probes, known.not_before)


def test_once_it_answers_the_backlog_follows_at_a_bounded_pace() -> None:
    """First one at a time, then two, up to the usual number; at most RECOVERY_RATE a second."""
    known = after([OK], slowed(), now=10.0)
    assert known is not None and known.recovering and not known.slowed
    known = rules.spend_pace(known, 1, now=10.0)

    assert rules.capacity(known, busy=0, now=10.0) == 0
    assert rules.capacity(known, busy=0, now=10.0 + 1 / rules.RECOVERY_RATE) == 1
    sent, now = 1, 10.0
    while sent < 200:
        now = max(now, known.not_before)
        count = rules.capacity(known, busy=0, now=now)
        assert 1 <= count <= MAX_CONCURRENT
        taken = rules.spend_pace(known, count, now=now)
        answered = after([OK] * count, taken, now=now)
        assert answered is not None
        known, sent = answered, sent + count

    assert (now - 10.0) * rules.RECOVERY_RATE >= sent - 2 * MAX_CONCURRENT


def test_a_destination_that_relapses_keeps_its_probe_interval() -> None:
    known = slowed()
    for _ in range(5):
        again = after([FAILED], known, now=known.not_before)
        assert again is not None
        known = again
    back = after([OK, FAILED], known, now=100.0)

    assert back is not None
    assert back.slowed and back.probes == known.probes
    assert back.not_before - 100.0 >= known.probes


def test_one_failure_does_not_undo_many_successes() -> None:
    """It takes as many failures in a row as there were successes, up to the usual number."""
    known = slowed()
    for answers in (1, 3, 20):
        back = after([OK] * answers, known, now=100.0)
        again = after([FAILED] * (min(answers, FAILURES) - 1), back, now=101.0)
        assert again is not None and again.recovering
        last = after([FAILED], again, now=102.0)
        assert last is not None and last.slowed and last.probes == known.probes


def test_a_success_now_and_then_does_not_end_the_outage() -> None:
    """`failing_since` is the first failure, until there were as many successes as count for health."""
    known = slowed(now=1000.0)
    for moment in (2000.0, 3000.0):
        back = after([OK] * (FAILURES - 1), known, now=moment)
        again = after([FAILED] * FAILURES, back, now=moment + 1)
        assert again is not None and again.slowed
        assert again.failing_since == 1000.0
        known = replace(again, successes=0)

    well = after([OK] * FAILURES, known, now=4000.0)
    assert well is not None and well.failing_since is None


def test_urls_without_failures_are_probed_first() -> None:
    def one(name: str, tries: int = 0, due_at: float = 0.0) -> Delivery:
        return Delivery(
            id=name, job_id="j", run=1, webhook_id="m", url=f"{HERE}/{name[0]}", state=DeliveryState.PENDING, version=1,
            created_at=0.0, due_at=due_at, schedule_index=tries,
        )  # fmt: skip

    due = [one("a1", due_at=1.0), one("a2", tries=2), one("b1", due_at=9.0), one("b2", due_at=8.0), one("c1")]
    order = [each.id for each in rules.order_for_probe(due, {f"{HERE}/c": 1, f"{HERE}/gone": 5})]

    assert order == ["b2", "b1", "c1", "a1", "a2"]


def test_no_destination_takes_all_senders() -> None:
    """Free senders are dealt out one by one, the longest waiting first."""
    dues = [DueDestination(destination=f"https://{n}", due_at=float(n)) for n in range(100)]

    assert rules.allocate(dues[:2], {}, free=64, senders=64, now=99.0) == {
        "https://0": MAX_CONCURRENT,
        "https://1": MAX_CONCURRENT,
    }
    few = rules.allocate(dues, {}, free=10, senders=10, now=99.0)
    assert few == {f"https://{n}": 1 for n in range(10)}
    assert rules.allocate(dues, {}, free=64, senders=64, now=-1.0) == {}


def test_a_destination_that_answers_at_once_gets_more_leases_of_one_worker_only() -> None:
    """Issue 17 item 3: where it makes all POSTs, the destination is healthy, and senders are free."""
    due, quick = DueDestination(destination=HERE, due_at=1.0, busy=3), {HERE: 3}
    some = {"free": 60, "senders": 64, "now": 2.0}

    assert rules.allocate([due], {}, **some, quick=quick) == {HERE: CLAIMED_AHEAD - 3}
    assert rules.allocate([due], {}, **some) == {HERE: MAX_CONCURRENT - 3}
    assert rules.allocate([replace(due, busy=CLAIMED_AHEAD)], {}, **some, quick={HERE: 1}) == {}
    assert rules.allocate([due], {HERE: slowed()}, **some, quick=quick) == {}
    assert rules.allocate([replace(due, busy=0)], {}, free=20, senders=64, now=2.0, quick=quick) == {HERE: 1}


@pytest.mark.parametrize(("others", "leased", "at_once"), [(0, 16, 4), (1, 11, 3), (2, 6, 2), (3, 1, 1), (4, 0, 0)])
def test_beside_the_leases_of_another_worker_it_leases_ahead_for_the_posts_that_are_left(
    others: int, leased: int, at_once: int
) -> None:
    """Issue 14 item 2: two workers with three and one callbacks in each commit made half as many jobs a second."""
    due = DueDestination(destination=HERE, due_at=1.0, busy=others)

    shares = rules.allocate([due], {}, free=60, senders=64, now=2.0, quick={HERE: 0})

    assert shares.get(HERE, 0) == leased
    assert rules.at_once_beside(busy=others, own=0) == at_once
    assert leased + others >= MAX_CONCURRENT, "the other one gets none until few are left"


@pytest.mark.parametrize(
    ("reply", "body", "quick"),
    [
        (Reply(status=200, ms=100), 65_536, True),
        (Reply(status=200, ms=101), 1, False),
        (Reply(status=200, ms=1), 65_537, False),
        (Reply(status=503, ms=1), 1, False),
        (Reply(error="refused the connection"), 1, False),
    ],
)
def test_what_counts_as_an_answer_at_once(reply: Reply, body: int, quick: bool) -> None:
    assert rules.is_quick(reply, body=body) is quick


def test_with_half_of_the_senders_taken_each_destination_gets_one() -> None:
    """So that sixteen destinations that hang do not take the senders of the others."""
    dues = [
        DueDestination(destination="https://hangs", due_at=0.0, busy=1),
        DueDestination(destination="https://new", due_at=1.0),
    ]

    assert rules.allocate(dues, {}, free=32, senders=64, now=2.0) == {"https://new": 1}


def test_the_next_check_ignores_destinations_without_capacity() -> None:
    known = slowed()
    dues = [DueDestination(destination=HERE, due_at=0.0), DueDestination(destination="https://other", due_at=50.0)]

    assert rules.next_check_at(dues, {HERE: known}) == known.not_before
    assert rules.next_check_at(dues[1:], {HERE: known}) == 50.0
    assert (
        rules.next_check_at([DueDestination(destination="https://full", due_at=0.0, busy=MAX_CONCURRENT)], {}) is None
    )


def test_a_delivery_outlives_its_schedule_until_its_destination_is_silent_for_long() -> None:
    """It is given up when it waited longer than its schedule, and its destination was silent for an hour."""
    known = slowed(now=1000.0)
    late = 1000.0 + rules.SLOW_AFTER

    def given_up(opened_at: float, now: float, schedule: tuple[float, ...] = (5.0,)) -> bool:
        return rules.may_expire(known, opened_at=opened_at, schedule=schedule, now=now)

    assert given_up(1000.0, late)
    assert not given_up(1001.0, late)  # not waited long enough
    assert not given_up(0.0, late - 1)  # it may come back
    assert not given_up(1000.0, late, schedule=(3600.0,))  # jitter and all, its schedule is not over
    assert not given_up(1000.0, 1000.0 + 4319.0, schedule=(3600.0,))
    assert given_up(1000.0, 1000.0 + 4320.0, schedule=(3600.0,))
    assert not rules.may_expire(Destination(name=HERE, failing_since=0.0), opened_at=0.0, schedule=(), now=late)


def test_a_redelivery_brings_the_next_probe_forward() -> None:
    far = Destination(name=HERE, slowed_at=0.0, failing_since=0.0, failures=99, probes=9, not_before=60.0)

    assert rules.probe_soon(far, now=10.0).not_before == 11.0
    assert rules.probe_soon(far, now=59.5).not_before == 60.0
    well = Destination(name=HERE, not_before=60.0)
    assert rules.probe_soon(well, now=10.0) is well


@pytest.mark.parametrize(("busy", "more"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_a_recovering_destination_gets_as_many_at_once_as_it_has_answered(busy: int, more: int) -> None:
    """Those on their way count, and a number that was lowered meanwhile is no debt."""
    assert rules.capacity(Destination(name=HERE, successes=2), busy=busy, now=0.0) == more
    assert rules.capacity(None, busy=busy, now=0.0, at_once=2) == more


def test_the_last_free_sender_sends_what_is_due_this_moment() -> None:
    dues = [DueDestination(destination="https://a", due_at=5.0), DueDestination(destination="https://b", due_at=6.0)]

    assert rules.allocate(dues, {}, free=1, senders=64, now=5.0) == {"https://a": 1}
