"""
Webhook headers, sealed: they hold keys of other people's systems, and copies of the store travel.

Beside a store that is a file the key lies in a file of its own (`relay.db.key`), so that a backup, a dump or a lost
disk image shows none of them. A server's stands in the database, which all machines share: its dumps are as secret as
it is itself. Only whoever is about to send a callback opens them.
"""

from __future__ import annotations

import contextlib
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


def new_key() -> bytes:
    """One that nobody knows."""
    return urlsafe_b64encode(os.urandom(32))


def key_path(path: Path) -> Path:
    """The file that holds the key of the store at `path`."""
    return path.with_name(path.name + ".key")


class HeaderCipher:
    """Closes and opens headers. `key` answers with the key; where there is none, it makes one if it is asked to."""

    def __init__(self, key: Callable[[bool], bytes]) -> None:
        self._key = key
        self._known: Fernet | None = None

    def encrypt(self, headers: dict[str, str]) -> str | None:
        """As they are kept; None where there are none."""
        if not headers:
            return None

        return self._fernet(make=True).encrypt(json.dumps(headers).encode()).decode()

    def decrypt(self, text: str | None) -> dict[str, str] | None:
        """The headers again; None where the key is gone or another."""
        if text is None:
            return {}
        if text.startswith("{"):  # as the first versions kept them
            return dict(json.loads(text))
        from cryptography.fernet import InvalidToken

        try:
            return dict(json.loads(self._fernet(make=False).decrypt(text.encode())))
        except (InvalidToken, ValueError, OSError):
            return None

    def _fernet(self, *, make: bool) -> Fernet:
        # Imported here: most jobs have no headers, and it takes tens of milliseconds.
        from cryptography.fernet import Fernet

        if self._known is None:
            self._known = Fernet(self._key(make))
        return self._known


class KeyFile:
    """The key in a file, made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, make: bool) -> bytes:
        """The key. Raises `OSError` where there is none."""
        if make:
            self._make()
        return self._path.read_bytes().strip()

    def _make(self) -> None:
        """A new key, unless there is one. Whole or not at all, and the same for all who make one at once."""
        if self._path.exists():
            return
        half = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(handle, "wb") as file:
            file.write(new_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            # What root submits on the command line must not lock the daemons out.
            known = self._path.parent.stat()
            os.chown(half, known.st_uid, known.st_gid)
        with contextlib.suppress(FileExistsError):
            os.link(half, self._path)
        half.unlink()
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
