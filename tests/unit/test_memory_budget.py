"""The memory budget: never exceeded, and granted in the order of asking."""

from __future__ import annotations

import threading

from claude_relay.worker.memory_budget import ByteSemaphore
from tests.support.eventually import eventually


def never() -> None:
    return None


def test_requests_are_granted_in_order_within_the_budget() -> None:
    """A large request is not starved by small ones that would still fit."""
    budget, order = ByteSemaphore(10), []

    def take(name: str, wanted: int) -> threading.Thread:
        def run() -> None:
            with budget.reserve() as reservation:
                order.append((name, reservation.grow(wanted, never)))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with budget.reserve() as reservation:
        assert reservation.grow(8, never)
        large = take("large", 9)
        eventually(lambda: len(budget.waiting) == 1)
        small = take("small", 1)
        eventually(lambda: len(budget.waiting) == 2)
        assert order == []
    large.join(60)
    small.join(60)

    assert order == [("large", True), ("small", True)]
    assert budget.free == 10


def test_a_request_above_the_budget_takes_all_of_it() -> None:
    budget = ByteSemaphore(10)

    with budget.reserve() as reservation:
        assert reservation.grow(11, never) and budget.free == 0
    assert budget.free == 10


def test_a_stopped_request_gets_nothing_and_blocks_no_other() -> None:
    budget = ByteSemaphore(10)

    with budget.reserve() as all_of_it, budget.reserve() as other:
        all_of_it.grow(10, never)
        assert not other.grow(1, lambda: "stop")
    with budget.reserve() as reservation:
        assert reservation.grow(10, never)


def test_a_closed_reservation_gets_nothing() -> None:
    """A thread that was cut off may still ask: bytes that it got then would never be released."""
    budget, answers = ByteSemaphore(10), []
    with budget.reserve() as all_of_it:
        all_of_it.grow(10, never)
        late = budget.reserve()
        thread = threading.Thread(target=lambda: answers.append(late.grow(5, never)))
        thread.start()
        eventually(lambda: len(budget.waiting) == 1)
        late.close()
        thread.join(60)

    assert answers == [False] and budget.free == 10
    assert not late.grow(1, never)
