"""
Randomness from the operating system, fetched many bytes at once.

Every call of the system lets go of the interpreter and must win it back from dozens of threads: two ids a job would
cost the thread that writes more than all its statements (*measured*: the accept path, at 16 connections).
"""

from __future__ import annotations

import os
import random
import threading

_AT_ONCE = 4096


class BufferedSystemRandom(random.SystemRandom):
    """Gives out each byte once, in any thread and in either process after a fork."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._owner, self._kept, self._used = os.getpid(), b"", 0

    def randbytes(self, n: int) -> bytes:
        """As `random.SystemRandom` has it."""
        with self._lock:
            start, end = self._used, self._used + n
            if end > len(self._kept) or self._owner != os.getpid():
                self._kept = os.urandom(max(n, _AT_ONCE))
                self._owner, start, end = os.getpid(), 0, n
            self._used = end

            return self._kept[start:end]
