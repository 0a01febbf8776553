"""What was met lately: a small memory of texts by their hash, that forgets."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable


class TtlSet:
    """At most `size` texts, each for `seconds` since it was last met. It keeps no text."""

    def __init__(self, *, seconds: float, clock: Callable[[], float], size: int = 1000) -> None:
        self._seconds, self._clock, self._size = seconds, clock, size
        self._met: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, text: str) -> bool:
        with self._lock:
            at = self._met.get(_key(text))

        return at is not None and self._clock() - at < self._seconds

    def add(self, text: str) -> None:
        """Met just now."""
        with self._lock:
            self._met[_key(text)] = self._clock()
            self._met.move_to_end(_key(text))
            while len(self._met) > self._size:
                self._met.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
