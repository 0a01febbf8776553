"""Rate limits: an exact moving window for each client."""

from __future__ import annotations

import pytest

from claude_relay.api.limits import MovingWindow, RateLimiter
from claude_relay.core.text.rates import Rate
from claude_relay.errors import RateLimited


class Clock:
    """Monotonic time, set by the test."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_hit_is_allowed_again_as_soon_as_the_oldest_one_leaves_the_window(clock: Clock) -> None:
    """The window moves: there is no burst of twice the rate at the end of a fixed interval."""
    window = MovingWindow(2, 10, clock)
    allowed = []
    for clock.now in (100, 104, 109, 110, 113, 114):
        allowed.append(window.hit("a")[0])

    assert allowed == [True, True, False, True, False, True]


def test_each_client_has_a_window_of_its_own_and_learns_what_is_left(clock: Clock) -> None:
    window = MovingWindow(2, 10, clock)
    clock.now = 103
    answers = [window.hit("a"), window.hit("b"), window.hit("a"), window.hit("a")]

    assert answers == [(True, 1, 10), (True, 1, 10), (True, 0, 10), (False, 0, 10)]


def test_a_refused_hit_and_a_check_do_not_count(clock: Clock) -> None:
    """A client that asks too often is served again after the window, not only once it has stopped asking."""
    window = MovingWindow(1, 10, clock)
    assert [window.hit("a", counts=False)[0] for _ in range(3)] == [True] * 3
    assert [window.hit("a")[0] for _ in range(3)] == [True, False, False]

    clock.now = 110
    assert window.hit("a")[0]


def test_clients_without_a_hit_in_the_window_are_forgotten(clock: Clock) -> None:
    """Memory follows the clients that send, however many addresses have asked once."""
    window = MovingWindow(5, 10, clock)
    for number in range(1_000):
        window.hit(f"address {number}")
    clock.now = 111

    window.hit("another")

    assert len(window) == 1


def test_the_headers_say_what_is_left_and_when_the_next_request_is_allowed() -> None:
    limiter, headers = RateLimiter("submit", Rate(1, 900)), {}
    limiter.spend("key admin", headers)
    assert {name: headers[name] for name in ("ratelimit-policy", "x-ratelimit-remaining")} == {
        "ratelimit-policy": '"submit";q=1;w=900',
        "x-ratelimit-remaining": "0",
    }

    with pytest.raises(RateLimited) as refused:
        limiter.spend("key admin", headers)

    assert 899 <= refused.value.retry_after <= 901
