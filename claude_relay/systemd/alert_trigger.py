"""Alerts of a daemon without network access: it touches a file, and systemd starts the alert sender."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

#: The file in the state directory that systemd/claude-relay-alerts.path watches.
NAME = "alerts.due"


def has_network() -> bool:
    """Whether this process may use the network (PrivateNetwork= and RestrictAddressFamilies= in its unit)."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False

    return True


def leaving(environ: Mapping[str, str]) -> Callable[[], None] | None:
    """A function that touches the trigger file; None if this process was not started by systemd."""
    folder, _, _ = environ.get("STATE_DIRECTORY", "").partition(":")
    if not folder:
        return None
    file = Path(folder) / NAME

    def touch() -> None:
        file.write_bytes(b"")  # PathChanged= reacts to a file being closed after writing

    return touch
