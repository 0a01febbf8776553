"""The sandbox's own books: every call it saw and how it ended, and how often a prompt with orders was tried."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from claude_relay.sandbox.cache import Cache
from claude_relay.sandbox.files import Files
from claude_relay.sandbox.prices import dollars

OPEN = "open"
MOST_CALLS = 10_000
A_MINUTE = 60.0


@dataclass(kw_only=True)
class Call:
    """One call; `ended` is `open` while it lasts. The prompt itself is never kept, only its SHA-256."""

    time: float
    path: str
    request_id: str
    batch_id: str | None = None  # of a request in a batch, with its custom_id
    custom_id: str | None = None
    message_id: str | None = None
    model: str | None = None
    stream: bool = False
    attempt: int | None = None
    status: int | None = None
    ended: str = OPEN
    input_tokens: int = 0  # all of them, those of the cache included
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_life: str | None = None
    output_tokens: int = 0
    prompt_sha256: str | None = None
    file_id: str | None = None
    bytes: int | None = None


class CallLog:
    """Safe for the threads of a server; bounded, the oldest call and the oldest prompt go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=MOST_CALLS)
        self._tries: OrderedDict[str, int] = OrderedDict()
        self._minute, self._used = 0, (0, 0, 0)
        self.cache = Cache()
        self.files = Files()

    def open(self, call: Call) -> Call:
        """Enter a call that has just arrived."""
        with self._lock:
            self._calls.append(call)
        return call

    def note(self, call: Call, **changes: Any) -> None:
        """Write down more about a call."""
        with self._lock:
            for name, value in changes.items():
                setattr(call, name, value)

    def calls(self) -> list[dict[str, Any]]:
        """Every call, oldest first, with what it would have cost."""
        with self._lock:
            calls = [dict(vars(call)) for call in self._calls]

        return [{**call, "usd": dollars(call)} for call in calls]

    def attempt(self, digest: str) -> int:
        """The number of this try of a prompt, counted from 1."""
        with self._lock:
            number = self._tries.pop(digest, 0) + 1
            self._tries[digest] = number
            if len(self._tries) > MOST_CALLS:
                self._tries.popitem(last=False)
            return number

    def record_success(self, digest: str) -> None:
        """The prompt got its answer: the next one that says the same starts from the first try."""
        with self._lock:
            self._tries.pop(digest, None)

    def spend(self, now: float, *, calls: int = 0, read: int = 0, written: int = 0) -> tuple[int, int, int]:
        """Add to what this minute has used, and say what it comes to: calls, input tokens, output tokens."""
        minute = int(now // A_MINUTE)
        with self._lock:
            before = self._used if self._minute == minute else (0, 0, 0)
            self._minute = minute
            self._used = (before[0] + calls, before[1] + read, before[2] + written)
            return self._used
