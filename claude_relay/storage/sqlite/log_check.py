"""
A check of the write-ahead log before SQLite reads it.

Each frame carries a checksum over all before it, and SQLite takes the first one that does not match for the end of the
log: one changed bit would silently undo every commit behind it. Frames behind that end that continue each other show
that there had been more (https://sqlite.org/fileformat2.html#walformat).
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path
from typing import BinaryIO

from ...core.lazy_dataclass import dataclass

_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
_MAGIC = 0x377F0682
#: The byte of the -shm file on which every connection has a shared lock (`UNIX_SHM_DMS` in SQLite's source).
_IN_USE = 128
#: struct flock: type, whence, start, length, pid.
_LOCK = struct.Struct("hhqqi4x")

_Sum = tuple[int, int]


@dataclass(frozen=True)
class _Frame:
    commit: bool
    salts: _Sum
    stored: _Sum
    head: bytes
    page: bytes


def check(path: Path) -> str | None:
    """The damage of the log of a store that is not open. A copy of such a log is kept."""
    log = Path(f"{path}-wal")
    if not log.exists() or log.stat().st_size <= _HEADER.size:
        return None
    with log.open("rb") as file:
        problem = _problem(file)
    if problem is None:
        return None
    copy = path.with_name(f"{log.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    import shutil

    shutil.copy2(log, copy)
    info = log.stat()
    if os.geteuid() == 0:
        os.chown(copy, info.st_uid, info.st_gid)

    return f"{problem}; commits behind it are lost. The log as it was is kept in {copy}"


def _problem(file: BinaryIO) -> str | None:
    header = file.read(_HEADER.size)
    magic, _, page_size, _, *rest = _HEADER.unpack(header)
    order = ">" if magic & 1 else "<"
    checksum = _checksum(order, header[:24], (0, 0))
    if magic | 1 != _MAGIC | 1 or (rest[2], rest[3]) != checksum:
        return "the header of the write-ahead log is damaged"

    salts, previous, number = (rest[0], rest[1]), checksum, 0
    while (frame := _read(file, page_size)) is not None:
        number += 1
        checksum = _checksum(order, frame.page, _checksum(order, frame.head, checksum))
        if frame.salts != salts or frame.stored != checksum:
            break
        previous = checksum
    if frame is None:
        return None

    # The end of the log, for SQLite. A frame of an earlier use of the file has other salts, and continues nothing here.
    damaged = f"frame {number} of the write-ahead log is damaged"
    if frame.stored == _checksum(order, frame.page, _checksum(order, frame.head, previous)):
        return damaged
    last = frame
    while (frame := _read(file, page_size)) is not None:
        follows = frame.stored == _checksum(order, frame.page, _checksum(order, frame.head, last.stored))
        if frame.salts == salts and follows:
            return damaged
        if salts not in (frame.salts, last.salts):
            return None  # of an earlier use
        last = frame

    # The last frame of all: a machine that lost its power leaves it half-written, too.
    return damaged if number > 1 and last.salts == salts and last.commit else None


def _read(file: BinaryIO, page_size: int) -> _Frame | None:
    data = file.read(_FRAME.size + page_size)
    if len(data) < _FRAME.size + page_size:
        return None
    _, size, *rest = _FRAME.unpack(data[: _FRAME.size])

    return _Frame(size != 0, (rest[0], rest[1]), (rest[2], rest[3]), data[:8], data[_FRAME.size :])


def _checksum(order: str, data: bytes, start: _Sum) -> _Sum:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF

    return first, second


def in_use(path: Path) -> bool:
    """Whether another process has the store open: the log grows meanwhile, and SQLite knows its end."""
    try:
        with Path(f"{path}-shm").open("rb") as file:
            wanted = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _IN_USE, 1, 0)
            holder = fcntl.fcntl(file, fcntl.F_GETLK, wanted)
    except OSError:
        return False

    return bool(_LOCK.unpack(holder)[0] != fcntl.F_UNLCK)
