"""Addresses that callers and operators name: a POST there, a file from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..core.deliveries.delivery import Reply
from ..core.files.fetched import FetchResult


class Sender(Protocol):
    """Makes one POST, within a time of its own, and says what came of it. Never raises."""

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply: ...


class Fetcher(Protocol):
    """
    Gets one file, within a time of its own, and says what came of it. Never raises; `stop` ends it early.

    Asks `room` for as many bytes as are to come before it reads any of them, and reads none where that is refused. What
    it waits there does not count.
    """

    def fetch(self, url: str, *, most: int, stop: Callable[[], object], room: Callable[[int], bool]) -> FetchResult: ...
