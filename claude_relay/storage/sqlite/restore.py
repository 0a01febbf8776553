"""Restore of a backup: it is checked before anything is replaced, and the old store is kept."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import apsw

from ...errors import Conflict, InvalidRequest, NotFound
from .. import migrate
from . import integrity
from .rescue import read_notice
from .restored import previous_path
from .uri import immutable_uri

_WORKER_RUNS = "a worker is running, or still brings its calls to their end: stop the daemons first"


def restore(backup: Path, store: Path) -> Path | None:
    """
    Replace `store` by `backup`; returns where the old store is kept, if there was one.

    Raises `Conflict` while a worker is alive or the old store is in use, `InvalidRequest` for a file that is not a
    usable backup, `StoreRefused` for one of a newer version.
    """
    if not backup.exists():
        raise NotFound(f"There is no file {backup}.")
    identity = _check_backup(backup)
    _check_unused(store, keep_log=backup.samefile(store) if store.exists() else False)
    store.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    partial = store.with_name(store.name + ".part")
    shutil.copyfile(backup, partial)
    folder = store.parent.stat()
    mode = 0o660 if folder.st_mode & 0o020 else 0o640  # a group that may write in the folder may write the store
    partial.chmod(mode)
    _sync(partial)

    aside = None
    if store.exists():
        aside = previous_path(store)
        store.replace(aside)
    for suffix in ("-wal", "-shm", "-journal"):  # they belong to the old store
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    integrity.identity_path(store).unlink(missing_ok=True)
    partial.replace(store)
    integrity.match_identity(store, identity)
    if os.geteuid() == 0:  # the daemons' user must be able to open a store that root has restored
        for path in (store, integrity.identity_path(store)):
            os.chown(path, folder.st_uid, folder.st_gid)
            path.chmod(mode)
    if backup in integrity.rescued(store):
        backup.rename(backup.with_name(backup.name.replace(".rescued-", ".restored-")))
    _sync(store.parent)

    return aside


def _check_backup(backup: Path) -> str:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(immutable_uri(backup), flags=flags)
        try:
            report = connection.execute("PRAGMA integrity_check(1)").get
            if report != "ok":
                raise _unusable(backup, str(report))
            migrate.missing("sqlite", connection.pragma("user_version"), where=str(backup))
            identity = connection.execute("SELECT value FROM meta WHERE key = 'identity'").get
        finally:
            connection.close()
    except apsw.Error as exc:
        raise _unusable(backup, str(exc)) from exc
    if not identity:
        raise _unusable(backup, "it is not a store of claude-relay")

    return str(identity)


def _unusable(backup: Path, why: str) -> InvalidRequest:
    problem = f"is not a usable backup: {why}. Nothing was changed."

    return InvalidRequest.at(str(backup), problem)


def _check_unused(store: Path, *, keep_log: bool) -> None:
    """
    Raise `Conflict` while a worker is alive or a process has the store open.

    `keep_log`: the file is the backup itself, after it was overwritten in place; the log beside it is another store's.
    """
    if read_notice(store) is not None:
        raise Conflict("a daemon has the old store open: stop the daemons first")
    for lock in (store.parent / "workers").glob("*.lock"):
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Conflict(_WORKER_RUNS) from None
    if not store.exists():
        return
    try:
        connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:
        return  # a broken store is a reason to restore
    if keep_log:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        # Fails while another process has the file open in WAL mode, which means a shared lock on it.
        connection.pragma("locking_mode", "exclusive")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("ROLLBACK")
    except (apsw.BusyError, apsw.LockedError):
        raise Conflict("the store is in use: stop the daemons first") from None
    except apsw.Error:
        return
    finally:
        connection.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
