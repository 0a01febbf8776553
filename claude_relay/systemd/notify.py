"""
sd_notify: one datagram of NAME=value lines to `$NOTIFY_SOCKET` (https://systemd.io/, sd_notify(3)).

Written out here: the packages that do it are either unkept (sdnotify, 2017) or need a compiler and libsystemd's headers
on the server (systemd-python, cysystemd), for what is one `sendto`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time


class Notifier:
    """Tells the supervisor. Never raises and never waits; says nothing where there is no one to hear it."""

    def __init__(self, address: str = "") -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def __bool__(self) -> bool:
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """Such as `tell("READY=1", "STATUS=listening")`, in one datagram."""
        self._send("\n".join(lines).encode())

    def reloading(self) -> None:
        """Between this and the next READY=1 the unit is reloading; the time tells one reload from another."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def extend(self, seconds: float) -> None:
        """Starting or stopping takes longer than the unit's time-outs say: that much more from now on."""
        self.tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def barrier(self, timeout: float = 5.0) -> None:
        """Wait until all that was told before has been taken in: the supervisor closes what it is handed here."""
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
