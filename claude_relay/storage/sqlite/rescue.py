"""
Saves a store that was removed or replaced under running daemons.

Its content lives as long as they have it open.
One of the daemons, which holds the lock of the notice `relay.db.gone`, writes the copy `relay.db.rescued-TIME`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from ...file_owner import give_to_owner
from ...ports import LostStore
from .backup import write_copy
from .integrity import notice_path, rescued, rescued_path

if TYPE_CHECKING:
    from ..header_encryption import KeyFile
    from .open_file import OpenFile

#: How long a process that stops waits for the other one's copy, in seconds, and how far apart they may notice a loss.
_CLOSE_WAIT, _SAME_LOSS = 2.0, 60.0
_NOTICE_SIZE = 4096

log = logging.getLogger(__name__)


class Rescue:
    """The rescue of one open store, through a connection of its own that is opened beforehand."""

    def __init__(self, path: Path, file: OpenFile, connect: Callable[[], apsw.Connection], key: KeyFile) -> None:
        self._path, self._file, self._key = path, file, key
        self._connection = connect()
        # The first read opens the log, which cannot be opened later.
        self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        self._lock = threading.Lock()  # guards the next five
        self._thread: threading.Thread | None = None
        self._since = 0.0
        self._copy = path
        self._command: str | None = None
        self._notice: int | None = None
        self._announced = False  # by a process that has stopped since
        _remove_old_notice(path)

    def state(self) -> LostStore | None:
        """The loss of the store, which begins its rescue; None while it is in place."""
        fault = self._file.fault()
        with self._lock:
            if fault is None:
                if self._since:
                    self._resolve()
                self._keep_key()
                return None
            if not self._since:
                self._since = time.time()
                self._copy = rescued_path(self._path, self._since)
            if self._notice is None and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, args=(fault,), name="store-rescue", daemon=True)
                self._thread.start()

            return LostStore(
                message=fault,
                command=self._command or self._fallback(),
                since=self._since,
                settled=self._command is not None,
                responsible=self._notice is not None and not self._announced,
            )

    def _keep_key(self) -> None:
        """Write the key of webhook headers again where only its file was removed."""
        with contextlib.suppress(OSError):
            if self._key.put_back():
                log.warning("the key of webhook headers was removed, and is put back")

    def close(self, *, lost: bool) -> None:
        """Bring the copy up to date with what was stored since, and close."""
        if self._thread is not None:
            self._thread.join()
        if lost and self._since and not self._file.overwritten and self._take_notice(wait=_CLOSE_WAIT):
            self._save()
        if self._file.overwritten:  # closing it must not write the old log over the new content
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._connection.close()
        self._drop_notice(announced=lost)

    def _run(self, fault: str) -> None:
        try:
            with contextlib.suppress(OSError):
                self._key.put_back()
            if not self._take_notice():
                return
            command = self._fallback()
            if self._file.overwritten or self._save():
                command = f"claude-relay restore --yes {self._path if self._file.overwritten else self._copy}"
            with self._lock:
                self._command = command
            self._write_notice({"message": fault, "command": command, "since": self._since})
        except Exception:
            log.exception("the store could not be rescued")

    def _save(self) -> bool:
        """Write the copy; returns whether it is there. The log goes into the file that it belongs to first."""
        with contextlib.suppress(apsw.Error):
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() or (1, 0, 0)
            if not busy and self._file.has_replacement():
                self._file.remove_logs()
        fresh = self._copy.with_name(self._copy.name + ".new")
        try:
            fresh.unlink(missing_ok=True)
            write_copy(self._connection, fresh)
            give_to_owner(fresh)
            fresh.replace(self._copy)
        except Exception as exc:
            log.error("the store could not be copied", extra={"file": str(self._copy), "error": str(exc)})
            return False

        return True

    def _fallback(self) -> str:
        return self._file.copy_command(self._copy)

    def _take_notice(self, *, wait: float = 0.0) -> bool:
        """Whether this process is the one to rescue and to tell; also where no notice can be written."""
        if self._notice is not None:
            return True
        path = notice_path(self._path)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        else:
            if not _lock(handle, wait):
                os.close(handle)
                return False
        # Another process may have begun the copy: this one, which closes later, brings it up to date.
        if (copies := rescued(self._path)) and copies[-1].stat().st_mtime > self._since - _SAME_LOSS:
            self._copy = copies[-1]
        with self._lock:
            self._notice, self._announced = handle, b'"announced"' in os.pread(handle, _NOTICE_SIZE, 0)

        return True

    def _write_notice(self, content: dict[str, Any]) -> None:
        if self._notice is not None:
            with contextlib.suppress(OSError):  # the disk may be full
                os.pwrite(self._notice, json.dumps(content).ljust(_NOTICE_SIZE).encode(), 0)

    def _drop_notice(self, *, announced: bool = False) -> None:
        """Release the notice; with `announced` it stays for a process that has the store open for longer."""
        if self._notice is None:
            return
        if announced:
            self._write_notice({"announced": True})
        else:
            notice_path(self._path).unlink(missing_ok=True)
        os.close(self._notice)
        self._notice = None

    def _resolve(self) -> None:
        """The original file is back in its place: the copy is out of date from now on."""
        if self._thread is not None and self._thread.is_alive():
            return  # seen again once the copy is written
        if self._notice is not None:
            self._copy.unlink(missing_ok=True)
        self._drop_notice()
        self._since, self._command, self._announced = 0.0, None, False


def _lock(handle: int, wait: float) -> bool:
    give_up_at = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(0.1)
        else:
            return True


def _remove_old_notice(path: Path) -> None:
    """Remove the notice of an earlier loss, unless a daemon still holds it."""
    try:
        handle = os.open(notice_path(path), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    if _lock(handle, 0.0):
        notice_path(path).unlink(missing_ok=True)
    os.close(handle)


def read_notice(path: Path) -> LostStore | None:
    """The loss of the store at `path` as a living daemon has noticed it; None without a notice."""
    try:
        with notice_path(path).open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                notice = json.loads(file.read() or "{}")
            else:
                return None  # its daemon is dead
    except (OSError, ValueError):
        return None
    message, command = str(notice.get("message", f"{path} is gone")), str(notice.get("command", ""))

    return LostStore(
        message=message, command=command, since=float(notice.get("since", 0.0)), settled=bool(command), responsible=True
    )
