"""
Encryption of webhook headers: they contain credentials for other systems, and copies of the store get around.

Beside a store in a file the key is in a file of its own (`relay.db.key`), so that a backup, a dump or a stolen disk
image reveals no header. A server's key is in the database, which all machines share: its dumps are as secret as the
database itself. Headers are decrypted only to send a callback.

The owner and the row (a job's id, a template's name and version) are encrypted with them: moved to another row, they
are no headers there.
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
    """A random Fernet key."""
    return urlsafe_b64encode(os.urandom(32))


def key_path(path: Path) -> Path:
    """The file with the key of the store at `path`."""
    return path.with_name(path.name + ".key")


class HeaderCipher:
    """Encrypts and decrypts headers. `key(create)` returns the key, and creates a missing one only if asked to."""

    def __init__(self, key: Callable[[bool], bytes]) -> None:
        self._key = key
        self._cached: Fernet | None = None

    def encrypt(self, headers: dict[str, str], *, owner: str, row: str) -> str | None:
        """The encrypted form of the headers in that row of an owner; None for no headers."""
        if not headers:
            return None

        sealed = json.dumps({"owner": owner, "row": row, "headers": headers})
        return self._fernet(create=True).encrypt(sealed.encode()).decode()

    def decrypt(self, text: str | None, *, owner: str, row: str) -> dict[str, str] | None:
        """The headers; None if the key is missing or another one, or they were encrypted for another row."""
        if text is None:
            return {}
        from cryptography.fernet import InvalidToken

        try:
            sealed = json.loads(self._fernet(create=False).decrypt(text.encode()))
        except (InvalidToken, ValueError, OSError):
            return None

        return dict(sealed["headers"]) if (sealed["owner"], sealed["row"]) == (owner, row) else None

    def _fernet(self, *, create: bool) -> Fernet:
        # Imported here: most jobs have no headers, and it takes tens of milliseconds.
        from cryptography.fernet import Fernet

        if self._cached is None:
            self._cached = Fernet(self._key(create))
        return self._cached


class KeyFile:
    """A key in a file, created when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: bytes | None = None

    def __call__(self, create: bool) -> bytes:
        """The key. Raises `OSError` if there is none."""
        if create:
            self._create(new_key())
        self._known = self._path.read_bytes().strip()
        return self._known

    def remember(self) -> None:
        """Read the key, if there is one, so that it can be put back."""
        with contextlib.suppress(OSError):
            self(False)

    def put_back(self) -> bool:
        """Write the key again if its file was removed; returns whether it was. A key that is new is remembered."""
        if self._known is None:
            self.remember()

        return self._known is not None and self._create(self._known)

    def _create(self, key: bytes) -> bool:
        """
        Create the file, atomically and with one key for all processes that create it at once.

        Returns False if it exists.
        """
        if self._path.exists():
            return False
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(handle, "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            # A submission by root on the command line must not lock the daemons out.
            folder = self._path.parent.stat()
            os.chown(temporary, folder.st_uid, folder.st_gid)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self._path)
        temporary.unlink()
        handle = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

        return True
