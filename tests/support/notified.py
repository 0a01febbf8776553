"""A socket that hears what is told to `$NOTIFY_SOCKET`: systemd's end of sd_notify, as far as tests need it."""

from __future__ import annotations

import os
import socket
from pathlib import Path


class Above:
    """Hears what is told, and closes what it is handed."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def __enter__(self) -> Above:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> list[str]:
        """What came since the last look, datagram by datagram."""
        said = []
        while True:
            try:
                message, handles, _, _ = socket.recv_fds(self._socket, 4096, 4)
            except BlockingIOError:
                self._said += said
                return said
            for handle in handles:
                os.close(handle)
            said.append(message.decode())

    def all(self) -> str:
        """All that was ever told."""
        self.heard()
        return "\n".join(self._said)
