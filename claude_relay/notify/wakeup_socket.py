"""
'Look now': a datagram to every worker on this machine, so that a job starts within a millisecond of its 202.

Each worker listens on a unix socket of its own in one directory. A ring may be lost: workers look by themselves, too.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".bell"


class WakeupSender:
    """Rings at every worker's door."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def notify(self) -> None:
        """Never waits and never raises."""
        with contextlib.suppress(OSError), _short(self._folder) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - a path through /proc
                if name.endswith(_SUFFIX):
                    with contextlib.suppress(OSError):
                        self._socket.sendto(b"1", f"{folder}/{name}")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class WakeupListener:
    """Where one worker listens."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}{_SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._path.unlink(missing_ok=True)
        with _short(folder) as short:
            self._socket.bind(f"{short}/{self._path.name}")
        self._path.chmod(0o660)

    def wait(self, timeout: float) -> bool:
        """Until someone rings, or `timeout` seconds are over. Rings that came meanwhile are one."""
        self._socket.settimeout(max(timeout, 0.001))
        try:
            self._socket.recv(16)
        except (TimeoutError, OSError):
            return False
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(16)

        return True

    def wake_self(self) -> None:
        """Ring at this very door."""
        with contextlib.suppress(OSError), _short(self._path.parent) as short:
            self._own.sendto(b"1", f"{short}/{self._path.name}")

    def close(self) -> None:
        """Take the bell down."""
        self._own.close()
        self._path.unlink(missing_ok=True)
        self._socket.close()


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The folder by a short name: a unix socket's path has room for 108 bytes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
