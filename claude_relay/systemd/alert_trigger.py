"""What a daemon that its unit gave no network does about an alert: it leaves word, and systemd starts one that has."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

#: The file in the state directory that systemd/claude-relay-alerts.path watches.
NAME = "alerts.due"


def has_network() -> bool:
    """Whether this process may talk to anyone at all (PrivateNetwork= and RestrictAddressFamilies= in its unit)."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False

    return True


def leaving(environ: Mapping[str, str]) -> Callable[[], None] | None:
    """How to leave it; None where it is not systemd that started this process, and nobody would hear."""
    folder, _, _ = environ.get("STATE_DIRECTORY", "").partition(":")
    if not folder:
        return None
    file = Path(folder) / NAME

    def leave() -> None:
        file.write_bytes(b"")  # opened for writing and closed: that is what PathChanged= sees

    return leave
