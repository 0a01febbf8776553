"""Whether the open store is still the one at its path: not removed, not replaced, not overwritten."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from pathlib import Path

from .integrity import HEADER

#: The files of a store that its connections hold open.
LOG_FILES = ("-wal", "-shm")
#: Where the header has the page size, the number of pages, the schema cookie, the user version, and the application id,
#: which `free_space` counts up whenever it shrinks the file (https://sqlite.org/fileformat2.html).
_PAGE_SIZE, _PAGES, _COOKIE, _VERSION = slice(16, 18), slice(28, 32), slice(40, 44), slice(60, 64)
_SHRUNK = slice(68, 72)
_HEADER_SIZE = 100
#: A header that looks foreign is read again after this many seconds: a checkpoint may be writing it.
_TORN = 0.05
#: The log's header and that of a frame, and the index's header, in bytes; where the index has the number of frames.
_LOG_HEADER, _FRAME_HEADER, _INDEX_HEADER, _FRAMES = 32, 24, 48, slice(16, 20)
_LOG_SALT, _INDEX_SALT = slice(16, 24), slice(32, 40)
_ATTEMPTS = 4

_Inode = tuple[int, int]
_handles_lock = threading.Lock()
#: Descriptors by inode, with the number of their users. Closing one drops every POSIX lock that SQLite has on the file
#: in this process, so that it must outlive the connections.
_handles: dict[_Inode, tuple[int, int]] = {}


class OpenFile:
    """The file behind open connections. `fault` compares it with its path: three system calls."""

    def __init__(self, path: Path) -> None:
        """Begin before the first connection is opened; `watch` once it has read."""
        self._path, self._name = path, str(path)
        info = path.stat()
        self.inode: _Inode = (info.st_dev, info.st_ino)
        self._handle = _acquire(self.inode, path)
        self._logs: dict[str, _Inode] = {}
        self._page_size = b""
        self._marks: set[tuple[int, int]] = set()
        self._seen = (0, 0)
        self._shrunk, self._least = 0, 0  # how often it was shrunk, and its least size since
        self._open_logs: dict[str, int] = {}
        self.overwritten = False
        self.suspect = False  # what the last `fault` found

    def watch(self, *, cookie: int, version: int) -> None:
        """Remember the open files, and what marks the content: its schema cookie and user version."""
        for suffix in LOG_FILES:
            if (inode := _inode(self._name + suffix)) is not None and suffix not in self._logs:
                self._logs[suffix] = inode
                self._open_logs[suffix] = _acquire(inode, Path(self._name + suffix))
        info, header = os.fstat(self._handle), self._read_header()
        self._seen = (info.st_mtime_ns, info.st_size)
        self._page_size = header[_PAGE_SIZE]
        self._shrunk, self._least = _number(header[_SHRUNK]), _least_size(header, info.st_size)
        # The log may still hold the newer of these; the next checkpoint brings it into the file.
        self._marks = {(_number(header[_COOKIE]), _number(header[_VERSION])), (cookie, version)}

    def fault(self) -> str | None:
        """The loss of the store, in a few words; None while it is in place."""
        fault = self._compare()
        self.suspect = fault is not None

        return fault

    def _compare(self) -> str | None:
        if self.overwritten:
            return f"{self._path} was overwritten while it was in use"
        try:
            info = os.stat(self._name)  # noqa: PTH116 - at every commit, and a Path is slower
        except FileNotFoundError:
            return f"{self._path} was removed while it was in use"
        except OSError as exc:
            return f"{self._path} cannot be reached ({exc.strerror or exc})"
        if (info.st_dev, info.st_ino) != self.inode:
            return f"{self._path} was replaced by another file while it was in use"
        for suffix, inode in self._logs.items():
            if _inode(self._name + suffix) != inode:
                return f"{self._path}{suffix}, which belongs to the store, was removed or replaced while it was in use"
        if (info.st_mtime_ns, info.st_size) != self._seen and (fault := self._check_content(info)) is not None:
            return fault
        if len(self._open_logs) == len(LOG_FILES) and not self._has_log():
            self.overwritten = True
            return f"{self._path}-wal, which belongs to the store, was overwritten while it was in use"

        return None

    def _has_log(self) -> bool:
        """
        Whether the log is the one that its index describes: its salt, and a size for all of its frames.

        SQLite writes frames before the index, and empties the index before the log. It may do so between these reads,
        so that a difference counts where it stays (https://sqlite.org/walformat.html).
        """
        log, index = (self._open_logs[suffix] for suffix in LOG_FILES)
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_TORN)
            size, header = os.fstat(log).st_size, os.pread(log, _LOG_HEADER, 0)
            state = os.pread(index, _INDEX_HEADER, 0)
            frames = int.from_bytes(state[_FRAMES], sys.byteorder)
            least = _LOG_HEADER + frames * (_FRAME_HEADER + _page_bytes(self._page_size))
            if not frames or (size >= least and header[_LOG_SALT] == state[_INDEX_SALT]):
                return True

        return False

    def has_replacement(self) -> bool:
        """Whether another file is now at the path."""
        return _inode(str(self._path)) not in (None, self.inode)

    def remove_logs(self) -> None:
        """Remove the log of this store from the path: with another file it would be taken for that file's log."""
        for suffix, inode in self._logs.items():
            if _inode(self._name + suffix) == inode:
                Path(f"{self._path}{suffix}").unlink()

    def copy_command(self, target: Path) -> str:
        """
        A command that copies the open files, for as long as this process lives.

        Where the folder is missing it is moved back, or created for the copies.
        """
        wanted = {self.inode: "", **({self._logs["-wal"]: "-wal"} if "-wal" in self._logs else {})}
        missing = not self._path.parent.exists()
        target = self._path if missing else target
        commands = {}
        folder = Path("/proc/self/fd")
        for link in folder.iterdir() if folder.is_dir() else ():
            suffix = wanted.get(_inode(str(link)) or (0, 0))
            if suffix is None:
                continue
            place = Path(os.readlink(link))  # noqa: PTH115
            if missing and place.exists():
                return f"mv {shlex.quote(str(place.parent))} {shlex.quote(str(self._path.parent))}"
            commands[suffix] = f"cp /proc/{os.getpid()}/fd/{link.name} {shlex.quote(f'{target}{suffix}')}"
        copies = " && ".join(commands[suffix] for suffix in sorted(commands))

        return f"mkdir -p {shlex.quote(str(target.parent))} && {copies}" if missing else copies

    def close(self) -> None:
        """Give up the descriptors, after the last connection was closed."""
        for suffix in self._open_logs:
            _release(self._logs[suffix])
        self._open_logs = {}
        _release(self.inode)

    def _check_content(self, info: os.stat_result) -> str | None:
        if not self._is_own(info.st_size):
            time.sleep(_TORN)
            if not self._is_own(os.fstat(self._handle).st_size):
                self.overwritten = True
                return f"{self._path} was overwritten while it was in use"
        self._seen = (info.st_mtime_ns, info.st_size)

        return None

    def _is_own(self, size: int) -> bool:
        """
        Whether the file still has this store's content, which only checkpoints write.

        They change the schema cookie only for a migration: a copy made by `backup` has another one. They write the
        first page first and shrink the file last, so that a smaller file has a header that says so. An earlier copy of
        the same file was shrunk fewer times, or is smaller than the file has been since. One that is neither is not
        told apart.
        """
        header = self._read_header()
        if not header.startswith(HEADER) or header[_PAGE_SIZE] != self._page_size:
            return False
        shrunk = _number(header[_SHRUNK])
        if shrunk < self._shrunk or (shrunk == self._shrunk and size < self._least):
            return False
        mark = _number(header[_COOKIE]), _number(header[_VERSION])
        if mark[1] > max(version for _, version in self._marks):  # a newer version has migrated the store
            self._marks.add(mark)
        if mark not in self._marks:
            return False
        least = _least_size(header, size)
        self._least = least if shrunk > self._shrunk else max(self._least, least)
        self._shrunk = shrunk

        return True

    def _read_header(self) -> bytes:
        return os.pread(self._handle, _HEADER_SIZE, 0)


def is_open(path: Path) -> bool:
    """Whether this process has that file open as a store already."""
    with _handles_lock:
        return _inode(str(path)) in _handles


def _least_size(header: bytes, size: int) -> int:
    """
    The bytes that the file has until it is shrunk again.

    Its header is written first: a file that grows is smaller than it says for a moment, and one that shrinks larger.
    """
    return min(size, _number(header[_PAGES]) * _page_bytes(header[_PAGE_SIZE]))


def _page_bytes(field: bytes) -> int:
    page_size = _number(field)

    return 65536 if page_size == 1 else page_size


def _number(field: bytes) -> int:
    return int.from_bytes(field, "big")


def _inode(path: str) -> _Inode | None:
    try:
        info = os.stat(path)  # noqa: PTH116
    except OSError:
        return None

    return info.st_dev, info.st_ino


def _acquire(inode: _Inode, path: Path) -> int:
    with _handles_lock:
        handle, users = _handles.get(inode, (-1, 0))
        if not users:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _handles[inode] = handle, users + 1

    return handle


def _release(inode: _Inode) -> None:
    with _handles_lock:
        handle, users = _handles.pop(inode)
        if users > 1:
            _handles[inode] = handle, users - 1
        else:
            os.close(handle)
