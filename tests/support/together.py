"""The writer of a store: writes in one group commit, and the moment at which it is idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from claude_relay.storage.sqlite.store import SqliteStore

from .eventually import eventually


def wait_until_idle(store: Any) -> None:
    """Wait until the writer sleeps: a caller has its result before the writer is done with the connection."""
    eventually(lambda: store._writer._wake_at == 1)


def together(store: SqliteStore, *writes: Callable[[], Any]) -> Sequence[Any]:
    """The result or exception of each write; each runs in its own thread, and is one write to `store`."""
    busy, go_on = threading.Event(), threading.Event()
    results: list[Any] = [None] * len(writes)

    def run(number: int) -> None:
        try:
            results[number] = writes[number]()
        except Exception as exc:
            results[number] = exc

    threads = [threading.Thread(target=store.write, args=(lambda tx: busy.set() or go_on.wait(60),))]
    threads[0].start()
    assert busy.wait(60)
    for number in range(len(writes)):
        threads.append(threading.Thread(target=run, args=(number,)))
        threads[-1].start()
        eventually(lambda number=number: len(store._writer._queue) == number + 1)
    go_on.set()
    for thread in threads:
        thread.join(60)

    return results
