"""Set of recently used strings, stored as hashes, whose entries expire."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable


class TtlSet:
    """Up to `size` strings, each for `seconds` since it was last added. Stores hashes only."""

    def __init__(self, *, seconds: float, clock: Callable[[], float], size: int = 1000) -> None:
        self._seconds, self._clock, self._size = seconds, clock, size
        self._added_at: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, text: str) -> bool:
        with self._lock:
            at = self._added_at.get(_key(text))

        return at is not None and self._clock() - at < self._seconds

    def add(self, text: str) -> None:
        """Add `text`, or renew it."""
        with self._lock:
            self._added_at[_key(text)] = self._clock()
            self._added_at.move_to_end(_key(text))
            while len(self._added_at) > self._size:
                self._added_at.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
