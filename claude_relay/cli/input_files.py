"""Input of the verbs: files, pipes and stdin, as bytes and as text."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidRequest

#: Bytes that are read at most: more than any relay takes in one request.
MAX_BYTES = 256 << 20
_BOM = "\ufeff"


class InputFile(click.Path):
    """The name of a file that exists, or - for stdin; nothing is opened yet."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, readable=True, allow_dash=True)


def read_bytes(source: str, *, field: str, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file, a pipe or stdin (`-`); raises `InvalidRequest` if there are none."""
    try:
        data = read_stdin(limit) if source == "-" else _file(source, field, limit)
    except OSError as exc:
        raise InvalidRequest.at(field, f"{source} cannot be read: {exc.strerror}") from exc
    if len(data) > limit:
        raise InvalidRequest.at(field, f"{source} is too large: more than {limit >> 20} MiB")
    if not data:
        raise InvalidRequest.at(field, "stdin is empty" if source == "-" else f"{source} is an empty file")

    return data


def read_text(source: str, *, field: str) -> str:
    """The text of a file, a pipe or stdin, without byte order mark and last line ends."""
    return decode_text(read_bytes(source, field=field), source, field=field)


def decode_text(data: bytes, source: str, *, field: str) -> str:
    """The text of these bytes; raises `InvalidRequest` for UTF-16, Latin-1 and other encodings."""
    name = "stdin" if source == "-" else source
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:100]:
        raise InvalidRequest.at(field, f"{name} is UTF-16 or no text: save it as UTF-8")
    try:
        return data.decode("utf-8").removeprefix(_BOM).rstrip("\r\n")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise InvalidRequest.at(field, f"{name} is not UTF-8 (line {line}): save it as UTF-8") from exc


def check_arguments(values: Iterable[tuple[str, Any]]) -> None:
    """Raise `InvalidRequest` for an argument that is not UTF-8: Python reads its bytes as lone surrogates."""
    for field, value in values:
        if isinstance(value, str) and any("\udc80" <= character <= "\udcff" for character in value):
            raise InvalidRequest.at(field, "is not UTF-8: save it as UTF-8, or set a locale such as C.UTF-8")


def read_stdin(limit: int = MAX_BYTES) -> bytes:
    """The bytes of stdin, at most one more than `limit`; empty where it is closed."""
    raw = getattr(sys.stdin, "buffer", None)

    return sys.stdin.read().encode("utf-8", "surrogateescape") if raw is None else bytes(raw.read(limit + 1))


def _file(source: str, field: str, limit: int) -> bytes:
    # A pipe without a writer would block the opening, and a device such as /dev/zero never ends.
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with io.FileIO(descriptor, closefd=True) as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise InvalidRequest.at(field, f"{source} is a device, not a file")
        pieces, size = [], 0
        while size <= limit:
            piece = file.read(1 << 20)
            if piece is None:  # a pipe whose writer has not written yet
                select.select([descriptor], [], [])
                continue
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        if stat.S_ISFIFO(mode) and not size:
            raise InvalidRequest.at(field, f"{source} is a pipe to which nothing was written")

    return b"".join(pieces)


def file_name(source: str) -> str | None:
    """The name to send with a file; none for stdin and pipes."""
    path = Path(source)

    return readable_name(path) if source != "-" and path.is_file() else None


def readable_name(path: Path) -> str:
    """The name of a file as text: bytes of it that are not UTF-8 are replaced."""
    return path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
