"""Log handlers; a log that cannot be written never raises in the code that logs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
import sys
import time
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .formats import JournalFormat

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[IO[str]]
else:
    _StreamHandler = logging.StreamHandler  # cannot be subscripted before Python 3.11

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class SafeHandler(logging.Handler):
    """Reports lost lines on stderr, at most once a minute, and continues."""

    _reported_at = float("-inf")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is of logging.Handler
        now = time.monotonic()
        if now - self._reported_at < 60:
            return
        self._reported_at = now
        # Only the reason: the report of `logging` would show the unredacted record.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"claude-relay: log lines are being lost: {sys.exc_info()[1]}\n")


class ConsoleHandler(SafeHandler, _StreamHandler):
    """Standard output or standard error."""

    def __init__(self, stream: IO[str], formatter: logging.Formatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)


class JournalHandler(SafeHandler):
    """
    A handler for journald's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): each event has its fields.

    Implemented here: systemd-python needs a compiler and libsystemd's headers on the server, for one `sendto`.
    """

    def __init__(self, path: str, formatter: JournalFormat) -> None:
        super().__init__()
        self._path, self._lines = path, formatter
        self.setFormatter(formatter)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(2.0)  # a hanging journal must not block the code that logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = b"".join(_field(name, text) for name, text in self._lines.fields(record).items())
            try:
                self._socket.sendto(message, self._path)
            except OSError as exc:
                if exc.errno != errno.EMSGSIZE:
                    raise
                self._send_memfd(message)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _send_memfd(self, message: bytes) -> None:
        """Send a message that is too long for a datagram as a sealed memory file."""
        handle = os.memfd_create("journal", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(message)
            fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", handle))]
            self._socket.sendmsg([], rights, 0, self._path)
        finally:
            os.close(handle)


def _field(name: str, text: str) -> bytes:
    value = text.encode("utf-8", "backslashreplace")
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)

    return b"%s=%s\n" % (name.encode(), value)


class LineFileHandler(SafeHandler, WatchedFileHandler):
    """
    A log file that several processes append to and that logrotate moves.

    Each line is a single write to a file opened for appending, which the kernel does not interleave.
    """

    def __init__(self, path: Path, formatter: logging.Formatter, level: int = logging.NOTSET) -> None:
        self._incomplete = False
        super().__init__(path)
        self.setFormatter(formatter)
        self.setLevel(level)

    def _open(self) -> TextIOWrapper:
        # Only its descriptor is used: the wrapper would split a long line into several writes.
        return open(self.baseFilename, "a", opener=lambda name, flags: os.open(name, flags, 0o640))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
                self._statstream()
            # A full disk may have accepted part of a line; the next one must not be appended to it.
            line = b"\n" + line if self._incomplete else line
            self._incomplete = os.write(self.stream.fileno(), line) < len(line)
        except Exception:
            self.handleError(record)
