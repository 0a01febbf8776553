"""The books of the sandbox: every call and how it ended, and the attempts of each prompt with directives."""

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
MINUTE = 60.0


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
    input_tokens: int = 0  # including those of the cache
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_life: str | None = None
    output_tokens: int = 0
    prompt_sha256: str | None = None
    file_id: str | None = None
    bytes: int | None = None


class CallLog:
    """Thread-safe and bounded: the oldest call and the oldest prompt are dropped first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=MOST_CALLS)
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._minute, self._used = 0, (0, 0, 0)
        self.cache = Cache()
        self.files = Files()

    def open(self, call: Call) -> Call:
        """Record a call that has just arrived."""
        with self._lock:
            self._calls.append(call)
        return call

    def note(self, call: Call, **changes: Any) -> None:
        """Record more about a call."""
        with self._lock:
            for name, value in changes.items():
                setattr(call, name, value)

    def calls(self) -> list[dict[str, Any]]:
        """Every call, oldest first, with the price it would have had."""
        with self._lock:
            calls = [dict(vars(call)) for call in self._calls]

        return [{**call, "usd": dollars(call)} for call in calls]

    def next_attempt(self, digest: str) -> int:
        """Count an attempt of a prompt; returns its number, from 1."""
        with self._lock:
            number = self._attempts.pop(digest, 0) + 1
            self._attempts[digest] = number
            if len(self._attempts) > MOST_CALLS:
                self._attempts.popitem(last=False)
            return number

    def record_success(self, digest: str) -> None:
        """Reset the attempts of a prompt that was answered: the same prompt starts from 1 again."""
        with self._lock:
            self._attempts.pop(digest, None)

    def add_usage(self, now: float, *, calls: int = 0, read: int = 0, written: int = 0) -> tuple[int, int, int]:
        """Add to the usage of this minute; returns its total: calls, input tokens, output tokens."""
        minute = int(now // MINUTE)
        with self._lock:
            used = self._used if self._minute == minute else (0, 0, 0)
            self._minute = minute
            self._used = (used[0] + calls, used[1] + read, used[2] + written)
            return self._used
