"""The place of a store of either engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from claude_relay.ports import Store
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.sqlite.store import SqliteStore

#: A file, or a server's address.
Place = Path | str


def open_at(place: Place, clock: Callable[[], float] | None = None) -> Store:
    """The store at that place; without a clock it has the real time."""
    if isinstance(place, str):
        return PostgresStore(place, where="the test's", clock=clock)

    return SqliteStore(place, clock=clock or time.time)
