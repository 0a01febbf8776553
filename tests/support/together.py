"""Writes that share a transaction: handed in while the writer is busy with another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from claude_relay.storage.sqlite.store import SqliteStore

from .eventually import eventually


def together(store: SqliteStore, *writes: Callable[[], Any]) -> Sequence[Any]:
    """What each of them answered, or raised; each is called in a thread of its own, and is one write to `store`."""
    busy, go_on = threading.Event(), threading.Event()
    answers: list[Any] = [None] * len(writes)

    def run(number: int) -> None:
        try:
            answers[number] = writes[number]()
        except Exception as exc:
            answers[number] = exc

    threads = [threading.Thread(target=store.write, args=(lambda tx: busy.set() or go_on.wait(30),))]
    threads[0].start()
    assert busy.wait(30)
    for number in range(len(writes)):
        threads.append(threading.Thread(target=run, args=(number,)))
        threads[-1].start()
        eventually(lambda number=number: len(store._writer._queue) == number + 1)
    go_on.set()
    for thread in threads:
        thread.join(30)

    return answers
