"""Output of the verbs to a file: whole or not at all, and checked before anything is paid for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import InvalidRequest


def check_writable(path: Path, *, field: str) -> None:
    """Raise `InvalidRequest` for a file that cannot be written, before the work whose result it is for."""
    folder = path.parent
    if not folder.is_dir():
        raise InvalidRequest.at(field, f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InvalidRequest.at(field, f"{path} cannot be written: Permission denied")


def write_file(path: Path, pieces: Iterable[bytes], *, field: str, secret: bool = False) -> None:
    """
    Write a file, which is replaced once it is complete; a secret one for its owner alone.

    Raises `InvalidRequest` if it cannot be written.
    """
    whole = path.is_file() or not path.exists()  # a device stays
    target = path.with_name(f".{path.name}.part") if whole else path
    flags = os.O_WRONLY | (os.O_CREAT | os.O_EXCL if whole else 0)
    try:
        if whole:
            target.unlink(missing_ok=True)  # it has the mode that it was created with
        with os.fdopen(os.open(target, flags, 0o600 if secret else 0o666), "wb") as file:
            for piece in pieces:
                file.write(piece)
        if whole:
            target.replace(path)
    except OSError as exc:
        raise InvalidRequest.at(field, f"{path} cannot be written: {exc.strerror}") from exc
