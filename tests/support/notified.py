"""A receiver for `$NOTIFY_SOCKET`: systemd's end of sd_notify, as far as tests need it."""

from __future__ import annotations

import os
import socket
from pathlib import Path


class Above:
    """Receives notifications, and closes the file descriptors that come with them."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def __enter__(self) -> Above:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> list[str]:
        """The notifications since the last call, a datagram each."""
        messages = []
        while True:
            try:
                message, handles, _, _ = socket.recv_fds(self._socket, 4096, 4)
            except BlockingIOError:
                self._messages += messages
                return messages
            for handle in handles:
                os.close(handle)
            messages.append(message.decode())

    def all(self) -> str:
        """All notifications so far."""
        self.heard()
        return "\n".join(self._messages)
