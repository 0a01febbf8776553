"""Room in memory: never more than there is, in the order of asking."""

from __future__ import annotations

import threading

from claude_relay.worker.memory_budget import ByteSemaphore
from tests.support.eventually import eventually


def never() -> None:
    return None


def test_who_asks_first_is_served_first_and_never_more_than_there_is() -> None:
    """A large request is not starved by small ones that would still fit."""
    room, order = ByteSemaphore(10), []

    def take(name: str, wanted: int) -> threading.Thread:
        def run() -> None:
            with room.reserve() as share:
                order.append((name, share.grow(wanted, never)))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with room.reserve() as share:
        assert share.grow(8, never)
        large = take("large", 9)
        eventually(lambda: len(room.waiting) == 1)
        small = take("small", 1)
        eventually(lambda: len(room.waiting) == 2)
        assert order == []
    large.join(5)
    small.join(5)

    assert order == [("large", True), ("small", True)]
    assert room.free == 10


def test_more_than_there_is_takes_all() -> None:
    room = ByteSemaphore(10)

    with room.reserve() as share:
        assert share.grow(11, never) and room.free == 0
    assert room.free == 10


def test_who_is_told_to_stop_holds_nothing_and_bars_nobody() -> None:
    room = ByteSemaphore(10)

    with room.reserve() as all_of_it, room.reserve() as other:
        all_of_it.grow(10, never)
        assert not other.grow(1, lambda: "stop")
    with room.reserve() as share:
        assert share.grow(10, never)


def test_who_asks_after_it_was_given_back_gets_nothing() -> None:
    """A thread that was cut off may still be asking: what it got then nobody would give back."""
    room, answers = ByteSemaphore(10), []
    with room.reserve() as all_of_it:
        all_of_it.grow(10, never)
        late = room.reserve()
        thread = threading.Thread(target=lambda: answers.append(late.grow(5, never)))
        thread.start()
        eventually(lambda: len(room.waiting) == 1)
        late.close()
        thread.join(5)

    assert answers == [False] and room.free == 10
    assert not late.grow(1, never)
