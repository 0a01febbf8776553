"""Translation of errors from SQLite and the operating system."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from ...errors import RelayError, StoreRefused, StoreUnavailable
from ...file_owner import access_fault
from .. import migrate


@contextmanager
def translating(path: Path, what: str = "the store") -> Iterator[None]:
    """Translate the errors that are raised in the block; `what` is at that path."""
    try:
        yield
    except (apsw.Error, OSError) as exc:
        raise translate(exc, path, what) from exc


def corrupt(path: Path, problem: str) -> StoreRefused:
    """The error for a store whose file is damaged."""
    return StoreRefused(
        f"the store {path} is corrupt ({problem}). Nothing more is written to it. Keep the file, then: "
        f"claude-relay restore FILE with the latest backup."
    )


def misfit(connection: apsw.Connection, fault: apsw.SQLError) -> StoreRefused:
    """The error for a statement that the store's tables do not fit: every one is tested on our schema."""
    have = connection.pragma("user_version")

    return migrate.misfit("sqlite", str(fault), where=connection.filename, have=have)


def translate(exc: BaseException, path: Path, what: str = "the store") -> BaseException:
    """The error for the caller; errors that are not the store's are returned unchanged."""
    if isinstance(exc, RelayError):
        return exc
    if isinstance(exc, apsw.CorruptError | apsw.NotADBError):
        return corrupt(path, str(exc))
    if isinstance(exc, apsw.ConstraintError) and "CHECK" in str(exc):
        return corrupt(path, str(exc))  # no transition makes such a row: the row or the schema is not what was written
    if isinstance(exc, apsw.FullError):
        return StoreUnavailable("the disk is full: make room, nothing that was accepted is lost", retry_after=30)
    if isinstance(exc, apsw.BusyError | apsw.LockedError):
        return StoreUnavailable("the store is locked by another process; try again", retry_after=5)
    read_only = isinstance(exc, OSError) and exc.errno == errno.EROFS
    if read_only or isinstance(exc, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError | PermissionError):
        why = ": ".join(access_fault(path) or (f"check its owner and mode ({exc})",))
        return StoreUnavailable(f"{what} {path} cannot be opened or written: {why}")
    if isinstance(exc, apsw.IOError | OSError):
        return StoreUnavailable(f"the disk under {path} fails ({exc})", retry_after=30)

    return exc
