"""Alerts of a daemon without network access: it touches a file, and systemd starts the alert sender."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

#: The file in the state directory that systemd/claude-relay-alerts.path watches.
NAME = "alerts.due"
#: The file with the id of the last alert that was accepted while the store could not record it.
SENT = "alerts.sent"
#: The file that systemd/claude-relay-no-api.service leaves before it touches the other one.
API_FAILED = "api.failed"


def has_network() -> bool:
    """Whether this process may use the network (PrivateNetwork= and RestrictAddressFamilies= in its unit)."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False

    return True


def leaving(environ: Mapping[str, str]) -> Callable[[float | None], None] | None:
    """
    A function that writes the trigger file; None if this process was not started by systemd.

    It takes the beginning of the present outage of the store: an outage is one alert, however often it is triggered.
    """
    if (folder := _state_directory(environ)) is None:
        return None
    file = folder / NAME

    def write(since: float | None) -> None:
        # PathChanged= reacts to a file being closed after writing.
        file.write_text("" if since is None else repr(since))

    return write


def outage_since(environ: Mapping[str, str]) -> float | None:
    """The beginning of the outage that the trigger was set for."""
    folder = _state_directory(environ)
    try:
        return None if folder is None else float((folder / NAME).read_text())
    except (OSError, ValueError):
        return None


def was_sent(environ: Mapping[str, str], alert_id: str) -> bool:
    """Whether the alert was accepted from here already."""
    folder = _state_directory(environ)
    try:
        return folder is not None and (folder / SENT).read_text() == alert_id
    except (OSError, ValueError):
        return False


def record_sent(environ: Mapping[str, str], alert_id: str) -> None:
    """Remember that the alert was accepted; where that cannot be written, it is sent again."""
    if (folder := _state_directory(environ)) is not None:
        with contextlib.suppress(OSError):
            (folder / SENT).write_text(alert_id)


def api_failure(environ: Mapping[str, str]) -> Path | None:
    """The file that says since when the API has failed, if there is one."""
    folder = _state_directory(environ)
    file = None if folder is None else folder / API_FAILED

    return file if file is not None and file.exists() else None


def api_started(environ: Mapping[str, str]) -> None:
    """Remove that file: the API that has just started has not failed."""
    if (file := api_failure(environ)) is not None:
        with contextlib.suppress(OSError):
            file.unlink()


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    folder, _, _ = environ.get("STATE_DIRECTORY", "").partition(":")

    return Path(folder) if folder else None
