"""Where lines go. A log that cannot be written never hurts whoever wanted to log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import IO


class Quiet(logging.Handler):
    """Says on stderr that lines are being lost, at most once a minute, and goes on."""

    _said = float("-inf")

    def handleError(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said < 60:
            return
        self._said = now
        # The reason alone: logging's own note would show the record as it came, secrets and all.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"claude-relay: log lines are being lost: {sys.exc_info()[1]}\n")


class Console(Quiet, logging.StreamHandler):
    """Standard output or standard error."""

    def __init__(self, stream: IO[str], formatter: logging.Formatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)


class LineFile(Quiet, WatchedFileHandler):
    """
    A log file that several processes append to and logrotate moves away.

    Each line leaves in a single write to a file opened for appending, which the kernel does not interleave.
    """

    def __init__(self, path: Path, formatter: logging.Formatter, level: int = logging.NOTSET) -> None:
        self._torn = False
        super().__init__(path)
        self.setFormatter(formatter)
        self.setLevel(level)

    def _open(self) -> TextIOWrapper:
        # Only its descriptor is used: the wrapper would cut a long line into several writes.
        return open(self.baseFilename, "a", opener=lambda name, flags: os.open(name, flags, 0o640))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
                self._statstream()
            # A full disk may take half a line; the next one must not be glued to it.
            line = b"\n" + line if self._torn else line
            self._torn = os.write(self.stream.fileno(), line) < len(line)
        except Exception:
            self.handleError(record)
