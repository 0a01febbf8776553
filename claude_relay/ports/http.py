"""HTTP to URLs that callers and operators name: POSTs of webhooks, downloads of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Reply
    from ..core.files.fetched import FetchResult


class Sender(Protocol):
    """Makes one POST within its own time limit. Never raises."""

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply: ...


class Fetcher(Protocol):
    """
    Downloads one file within its own time limit. Never raises; `stop` ends it early.

    Calls `reserve` with the expected number of bytes before it reads the body, and reads nothing if that returns False.
    The time spent in `reserve` does not count.
    """

    def fetch(
        self, url: str, *, max_bytes: int, stop: Callable[[], object], reserve: Callable[[int], bool]
    ) -> FetchResult: ...
