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


def write_file(path: Path, pieces: Iterable[bytes], *, field: str) -> None:
    """Write a file, which is replaced once it is complete; raises `InvalidRequest` if it cannot be written."""
    partial = path.with_name(f".{path.name}.part") if path.is_file() or not path.exists() else path  # a device stays
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        if partial != path:
            partial.replace(path)
    except OSError as exc:
        raise InvalidRequest.at(field, f"{path} cannot be written: {exc.strerror}") from exc
