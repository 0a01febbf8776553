"""Alerts of a daemon without network access: it touches a file, and systemd starts the alert sender."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

#: The file in the state directory that systemd/claude-relay-alerts.path watches.
NAME = "alerts.due"
#: The file that systemd/claude-relay-no-api.service leaves before it touches the other one.
API_FAILED = "api.failed"


def has_network() -> bool:
    """Whether this process may use the network (PrivateNetwork= and RestrictAddressFamilies= in its unit)."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False

    return True


def leaving(environ: Mapping[str, str]) -> Callable[[], None] | None:
    """A function that touches the trigger file; None if this process was not started by systemd."""
    if (folder := _state_directory(environ)) is None:
        return None
    file = folder / NAME

    def touch() -> None:
        file.write_bytes(b"")  # PathChanged= reacts to a file being closed after writing

    return touch


def api_failure(environ: Mapping[str, str]) -> Path | None:
    """The file that says since when the API has failed, if there is one."""
    folder = _state_directory(environ)
    file = None if folder is None else folder / API_FAILED

    return file if file is not None and file.exists() else None


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    folder, _, _ = environ.get("STATE_DIRECTORY", "").partition(":")

    return Path(folder) if folder else None
