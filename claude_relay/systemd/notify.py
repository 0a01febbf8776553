"""
sd_notify: one datagram of NAME=value lines to `$NOTIFY_SOCKET` (https://systemd.io/, sd_notify(3)).

Implemented here: the existing packages are either unmaintained (sdnotify, 2017) or need a compiler and libsystemd's
headers on the server (systemd-python, cysystemd), for a single `sendto`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time


class Notifier:
    """Sends notifications to the supervisor, if there is one. Never raises, and only `barrier` waits."""

    def __init__(self, address: str = "") -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def __bool__(self) -> bool:
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """Send lines such as `"READY=1", "STATUS=listening"` in one datagram."""
        self._send("\n".join(lines).encode())

    def reloading(self) -> None:
        """Announce a reload, which lasts until the next READY=1; the time distinguishes reloads."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def extend(self, seconds: float) -> None:
        """Extend the unit's start or stop timeout to this many seconds from now."""
        self.tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def barrier(self, timeout: float = 5.0) -> None:
        """Wait until the supervisor has processed all earlier messages: it then closes the pipe that it is sent."""
        if not self._address:
            return
        ours, theirs = os.pipe()
        try:
            self._send(b"BARRIER=1", theirs)
        finally:
            os.close(theirs)
        try:
            poll = select.poll()
            poll.register(ours, select.POLLHUP)
            poll.poll(timeout * 1000)
        finally:
            os.close(ours)

    def _send(self, message: bytes, *handles: int) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1.0)
            sock.connect(self._address)
            socket.send_fds(sock, [message], list(handles))
