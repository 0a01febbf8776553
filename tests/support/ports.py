"""Ports for servers that are named before they listen, and one that refuses connections."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
#: Test processes side by side never choose the same port.
_SHARES = 16
_given: set[int] = set()


def free_port() -> int:
    """
    A port on which a server will listen.

    It lies below the range from which the kernel takes the local ports of connections: any connection of the machine
    could get one of that range before the server listens, or while it is restarted.
    """
    share = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % _SHARES
    ours = range(_LOWEST + share, max(int(_RANGE.read_text().split()[0]), 2 * _LOWEST), _SHARES)
    while True:
        port = random.SystemRandom().choice(ours)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False

    return True


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections, and that no server gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
