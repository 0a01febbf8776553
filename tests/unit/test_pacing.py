"""The pace of a model family, in simulated time, against upstreams that allow everything or very little."""

from __future__ import annotations

import math

import pytest

from claude_relay.worker.pacing import FIRST_WINDOW, Pacing
from tests.support.limiter_simulation import AtOnce, FixedWindow, Storm, TokenBucket, Upstream, simulate


def at(now: list[float]) -> Pacing:
    return Pacing(clock=lambda: now[0], wall=lambda: now[0])


@pytest.mark.parametrize("calls, within, done", [(64, 2.0, 13.0), (300, 5.0, 18.0)])
def test_long_calls_start_at_once_where_nothing_throttles(calls: int, within: float, done: float) -> None:
    """Calls of ten seconds on a cold worker with a slot for each."""
    run = simulate(Upstream(), jobs=calls, seconds=10.0 / 1.3, slots=calls)

    assert len(run.accepted_at) == calls and run.refused == 0
    assert max(run.accepted_at) <= within
    assert run.seconds <= done


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("seconds, slots", [(2.0, 64), (10.0, 300)])
@pytest.mark.parametrize(
    "upstream, jobs",
    [
        (lambda: TokenBucket(300), 3000),
        (lambda: TokenBucket(300, retry_after=False), 3000),
        (lambda: TokenBucket(1000), 6000),
        (lambda: TokenBucket(1000, retry_after=False), 6000),
        (lambda: FixedWindow(300), 3000),
        (lambda: FixedWindow(300, retry_after=False), 3000),
        (lambda: FixedWindow(1000), 6000),
        (lambda: FixedWindow(1000, retry_after=False), 6000),
        (lambda: AtOnce(10), 1000),
        (lambda: AtOnce(10, retry_after=True), 1000),
        (lambda: Storm(5.0, 30.0), 3000),
    ],
    ids=["bucket300", "bucket300-silent", "bucket1000", "bucket1000-silent", "window300", "window300-silent",
         "window1000", "window1000-silent", "at-once", "at-once-retry-after", "storm"],
)  # fmt: skip
def test_a_backlog_takes_the_time_that_the_limit_permits(upstream, jobs, seconds, slots, seed) -> None:
    """At most a tenth more, and fewer than one request in a hundred is refused; "silent": without Retry-After."""
    limited = upstream()
    run = simulate(limited, jobs=jobs, seconds=seconds, slots=slots, seed=seed)

    assert (
        run.seconds <= 1.1 * limited.shortest(jobs, seconds, slots) + 0.3 * seconds
    )  # the last call may be a long one
    assert run.refused < 0.01 * (jobs + run.refused)


@pytest.mark.parametrize(
    "upstream, jobs",
    [
        (Upstream, 3000),
        (lambda: TokenBucket(300), 3000),
        (lambda: TokenBucket(300, retry_after=False), 3000),
        (lambda: TokenBucket(1000, retry_after=False), 6000),
        (lambda: FixedWindow(300), 3000),
        (lambda: FixedWindow(1000, retry_after=False), 6000),
        (lambda: AtOnce(10), 1000),
        (lambda: Storm(5.0, 30.0), 3000),
    ],
    ids=["none", "bucket300", "bucket300-silent", "bucket1000-silent", "window300", "window1000-silent", "at-once",
         "storm"],
)  # fmt: skip
def test_a_backlog_of_calls_whose_headers_come_after_seconds(upstream, jobs) -> None:
    """
    A limit is met by refusals that come faster than answers: at most a quarter more time, and 2 % are refused.

    A bucket of 300 a minute was taken for a window of 22 a minute, and 64 slots did 6 calls a second at most.
    """
    limited = upstream()
    run = simulate(limited, jobs=jobs, seconds=10.0, slots=300, headers_after=2.0, round_trip=0.1)

    assert run.seconds <= 1.25 * limited.shortest(jobs, 12.0, 300) + 5.0
    assert run.refused < 0.02 * (jobs + run.refused)


@pytest.mark.parametrize("limit", [50, 60, 300])
def test_headers_spare_every_refusal(limit: int) -> None:
    """The quota of `anthropic-ratelimit-requests-*` is kept to from the first answer on."""
    now, upstream = [0.0], TokenBucket(limit)
    pacing, sent, refused = at(now), 0, 0
    while now[0] < 120.0:
        for _ in range(pacing.capacities().get("opus", FIRST_WINDOW)):
            call = pacing.start("opus")
            accepted, _ = upstream.ask(now[0])
            sent, refused = sent + 1, refused + (not accepted)
            call.accepted()
            reset = now[0] + (limit - upstream.left) * 60 / limit
            pacing.record_limits("opus", limit=limit, remaining=int(upstream.left), reset=reset)
            call.ended()
        now[0] += 0.05

    assert refused == 0
    assert sent >= 0.9 * 3 * limit


def test_a_family_starts_small_and_others_are_not_affected() -> None:
    pacing = at([0.0])
    calls = [pacing.start("opus") for _ in range(FIRST_WINDOW)]

    assert pacing.capacities() == {"opus": 0}
    assert pacing.next_in() == math.inf  # only an answer makes room
    calls[0].accepted()
    assert pacing.capacities()["opus"] == 2


def test_an_acceptance_makes_room_before_the_call_ends() -> None:
    """A worker with long calls does not wait for their ends."""
    now = [0.0]
    pacing = at(now)
    for _ in range(10):
        for _ in range(pacing.capacities().get("opus", FIRST_WINDOW)):
            pacing.start("opus").accepted()
        now[0] += 0.1

    assert pacing.capacities()["opus"] > 0


def test_the_calls_accepted_at_a_refusal_are_the_concurrency_from_then_on() -> None:
    now = [0.0]
    pacing = at(now)
    calls = [pacing.start("opus") for _ in range(3)]
    for call in calls:
        call.accepted()
    pacing.start("opus").refused()

    assert pacing.capacities() == {"opus": 0}
    now[0] += 5.0
    assert pacing.capacities() == {"opus": 0}  # three are running
    calls[0].ended()
    assert pacing.capacities() == {"opus": 1}


def test_a_pause_by_token_limits_holds_the_family_until_it_is_over() -> None:
    now = [100.0]
    pacing = at(now)
    pacing.record_limits("opus", limit=None, remaining=None, reset=None, exhausted_for=30.0)

    assert pacing.capacities() == {"opus": 0}
    assert pacing.next_in() == 30.0
    now[0] = 130.0
    assert pacing.capacities() == {"opus": FIRST_WINDOW}


def test_a_call_that_fetches_files_does_not_count() -> None:
    pacing = at([0.0])
    call = pacing.start("opus")
    with call.set_aside():
        assert pacing.capacities()["opus"] == FIRST_WINDOW

    assert pacing.capacities()["opus"] == FIRST_WINDOW - 1


def test_calls_that_end_without_an_answer_leave_nothing_behind() -> None:
    pacing = at([0.0])
    for _ in range(20):
        pacing.start("opus").ended()

    assert pacing.capacities()["opus"] == FIRST_WINDOW


def test_a_call_that_was_claimed_before_a_refusal_was_known_teaches_nothing() -> None:
    """A claim takes a commit: calls that start in the pause are no probes, and their refusals do not lengthen it."""
    now = [0.0]
    pacing = at(now)
    for _ in range(3):
        pacing.start("opus").accepted()
    pause = pacing.start("opus").refused()
    now[0] = 0.5
    late = [pacing.start("opus") for _ in range(4)]
    pauses = [call.refused() for call in late]

    assert pauses == [pause - 0.5] * 4
    now[0] = pause
    assert pacing.next_in() == math.inf  # the three fill the concurrency that was learned


def test_a_bucket_that_is_empty_at_the_start_is_used_whole() -> None:
    """After a restart of the worker the first call may be refused; 64 short calls with late headers are enough then."""
    bucket = TokenBucket(1000)
    bucket.left = 0.0
    run = simulate(bucket, jobs=5000, seconds=0.5, slots=64, headers_after=3.0, round_trip=0.1)

    assert run.seconds <= 1.25 * 5000 * 60 / 1000


def test_a_call_ends_once() -> None:
    """A thread may take up a call after all whose start failed."""
    pacing = at([0.0])
    call = pacing.start("opus")
    call.ended()
    call.accepted()
    call.refused()
    call.ended()

    assert pacing.capacities()["opus"] == FIRST_WINDOW
    assert pacing.next_in() == math.inf


def test_a_throttle_in_mid_stream_counts_as_a_refusal() -> None:
    now = [0.0]
    pacing = at(now)
    call = pacing.start("opus")
    call.accepted()

    assert call.refused(overloaded=True) == 1.0
    assert pacing.capacities() == {"opus": 0}
    now[0] = 1.0
    assert pacing.capacities() == {"opus": 1}
