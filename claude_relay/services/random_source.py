"""
Randomness from the operating system, fetched in blocks.

Every system call releases the interpreter lock and must win it back from dozens of threads: two ids per job would cost
the writer thread more than all its statements (*measured*: the accept path, at 16 connections).
"""

from __future__ import annotations

import os
import random
import threading

_BLOCK_SIZE = 4096


class BufferedSystemRandom(random.SystemRandom):
    """Hands out each byte once, to any thread and to either process after a fork."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._pid, self._block, self._used = os.getpid(), b"", 0

    def randbytes(self, n: int) -> bytes:
        """As `random.SystemRandom.randbytes`."""
        with self._lock:
            start, end = self._used, self._used + n
            if end > len(self._block) or self._pid != os.getpid():
                self._block = os.urandom(max(n, _BLOCK_SIZE))
                self._pid, start, end = os.getpid(), 0, n
            self._used = end

            return self._block[start:end]
