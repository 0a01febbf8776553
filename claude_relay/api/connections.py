"""Bounds on connections whose request is incomplete: their time, and their number in all and for each address."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from ..core.lazy_dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """The bounds; durations in seconds."""

    #: Time for a head, from its first byte or from the connection; slow drips do not prolong it.
    head: float = 15.0
    #: Time for a body, and the bytes per second that add to it: 32 MiB may take an hour, a drip of bytes may not.
    body: float = 30.0
    rate: float = 8_192.0
    #: A client that reads its response takes so many bytes in so many seconds, where a thread waits for it.
    read: float = 60.0
    read_bytes: int = 65_536
    #: Incomplete requests in all, and of one address.
    total: int = 512
    each: int = 64
    #: Connections in all. Above it idle ones are closed, and those that do not read their response.
    connections: int = 900


class Incomplete(Protocol):
    """A connection, as the bounds see it."""

    client: str

    @property
    def evictable(self) -> bool:
        """Whether its request is still incomplete: one that waits for an answer is never closed."""
        ...

    @property
    def admitted(self) -> bool:
        """Whether its key was checked."""
        ...

    def evict(self) -> None:
        """Close it."""
        ...


class IncompleteRequests:
    """
    The connections whose request is incomplete, oldest first. Used by the main loop only.

    Over a bound the oldest one is closed, of those first whose key was not checked yet. `unbounded` are addresses that
    send for many clients: only the bound on all of them counts there.
    """

    def __init__(self, limits: ConnectionLimits, *, unbounded: Container[str] = ()) -> None:
        self.limits, self._unbounded = limits, unbounded
        self._all: dict[Incomplete, None] = {}
        self._by_client: dict[str, dict[Incomplete, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Incomplete) -> None:
        """Add the newest one; closes the oldest over a bound."""
        ours = self._by_client.setdefault(connection.client, {})
        self._all[connection] = ours[connection] = None
        # A Unix socket, which waitress calls localhost, has a proxy at its other end.
        bounded = connection.client != "localhost" and connection.client not in self._unbounded
        if bounded and len(ours) > self.limits.each:
            self._evict_oldest(ours)
        if len(self._all) > self.limits.total:
            self._evict_oldest(self._all)

    def discard(self, connection: Incomplete) -> None:
        """Remove one that is complete or closed."""
        ours = self._by_client.get(connection.client, {})
        self._all.pop(connection, None)
        ours.pop(connection, None)
        if not ours:
            self._by_client.pop(connection.client, None)

    def evict_oldest(self) -> None:
        """Close the oldest one, if there is one."""
        self._evict_oldest(self._all)

    def _evict_oldest(self, group: dict[Incomplete, None]) -> None:
        evictable = [connection for connection in group if connection.evictable]
        oldest = next((each for each in evictable if not each.admitted), next(iter(evictable), None))
        if oldest is not None:
            self.discard(oldest)
            oldest.evict()
