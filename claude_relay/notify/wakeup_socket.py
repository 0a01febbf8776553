"""
Wakeup of every worker on this machine by a datagram.

A job then starts within a millisecond of its 202.

Each worker listens on its own unix socket in one directory. A wakeup may be lost: workers also poll.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ..file_owner import give_to_owner

_SUFFIX = ".bell"


class WakeupSender:
    """Wakes all workers whose sockets are in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def notify(self) -> None:
        """Send a datagram to each worker. Never waits and never raises."""
        with contextlib.suppress(OSError), short_path(self._folder) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - a path through /proc
                if name.endswith(_SUFFIX):
                    with contextlib.suppress(OSError):
                        self._socket.sendto(b"1", f"{folder}/{name}")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class WakeupListener:
    """The socket on which a worker listens."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}{_SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._path.unlink(missing_ok=True)
        with short_path(folder) as short:
            self._socket.bind(f"{short}/{self._path.name}")
        self._path.chmod(0o660)
        give_to_owner(self._path)

    def wait(self, timeout: float) -> bool:
        """Wait for a wakeup, or for `timeout` seconds. Several wakeups count as one."""
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
        """Wake this listener, from another thread."""
        with contextlib.suppress(OSError), short_path(self._path.parent) as short:
            self._own.sendto(b"1", f"{short}/{self._path.name}")

    def close(self) -> None:
        """Close and delete the socket."""
        self._own.close()
        self._path.unlink(missing_ok=True)
        self._socket.close()


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A short path to the folder, as the path of a unix socket has at most 108 bytes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
