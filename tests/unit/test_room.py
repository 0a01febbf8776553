"""Room in memory: never more than there is, in the order of asking."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from claude_relay.worker.room import Room
from tests.support.eventually import eventually


def never() -> None:
    return None


def test_who_asks_first_is_served_first_and_never_more_than_there_is() -> None:
    """A large request is not starved by small ones that would still fit."""
    room, order = Room(10), []

    def take(name: str, wanted: int) -> threading.Thread:
        def run() -> None:
            with room.taken(wanted, never) as got:
                order.append((name, got))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with ExitStack() as held:
        held.enter_context(room.taken(8, never))
        large = take("large", 9)
        eventually(lambda: len(room._waiting) == 1)
        small = take("small", 1)
        eventually(lambda: len(room._waiting) == 2)
        assert order == []
    large.join(5)
    small.join(5)

    assert order == [("large", True), ("small", True)]


def test_more_than_there_is_takes_all() -> None:
    room = Room(10)

    with room.taken(11, never) as got:
        assert got and room._free == 0
    assert room._free == 10


def test_who_is_told_to_stop_holds_nothing_and_bars_nobody() -> None:
    room = Room(10)

    with room.taken(10, never), room.taken(1, lambda: "stop") as got:
        assert not got
    with room.taken(10, never) as got:
        assert got
