"""Checks before a store is opened: of the linked SQLite, of the file, and of its identity."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import apsw

from ...errors import StoreRefused

#: How a report begins that is not about the rows of a table and their indexes.
_DAMAGED_PAGES = ("*** ", "Tree ", "Page ", "Main freelist", "Freelist", "unable ")
#: The first bytes of every SQLite file.
HEADER = b"SQLite format 3\x00"


def wal_is_safe(version: str) -> bool:
    """
    Whether this SQLite is free of the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).

    Fixed in 3.51.3, and in the branches 3.50.7 and 3.44.6. `version` as in "3.54.1".
    """
    major, minor, patch = (int(part) for part in [*version.split("."), "0", "0"][:3])
    linked = (major, minor, patch)

    return linked >= (3, 51, 3) or (3, 50, 7) <= linked < (3, 51, 0) or (3, 44, 6) <= linked < (3, 45, 0)


def check_before_open(path: Path) -> None:
    """
    Refuse a store that is missing where one should be, empty, or not a database.

    The file beside it (`relay.db.id`) records that a store was created here: without it, a vanished store would be
    silently replaced by an empty one, and every accepted job would be lost with it.
    """
    mark = identity_path(path)
    if not path.exists():
        if copies := rescued(path):
            raise StoreRefused(
                f"the store {path} was removed while it was in use, and its content was saved in {copies[-1].name}. "
                f"Restore it (claude-relay restore {copies[-1]}), or remove that file to begin with an empty store."
            )
        if mark.exists():
            raise StoreRefused(
                f"the store {path} is missing, and {mark.name} says that there was one. Restore it "
                f"(claude-relay restore FILE), or remove {mark} to begin with an empty store."
            )
        return

    with path.open("rb") as file:
        head = file.read(len(HEADER))
    if not head and not mark.exists():
        return  # just created by a process that is about to fill it
    if head != HEADER:
        problem = "is empty" if not head else "is not a database"
        raise StoreRefused(
            f"the store {path} {problem}: it was truncated or overwritten. Nothing was written to it. "
            f"Restore a backup: claude-relay restore FILE."
        )


def check_content(connection: apsw.Connection) -> tuple[str, bool]:
    """SQLite's report on the complete file, empty without a fault, and whether pages are damaged."""
    try:
        report = str(connection.execute("PRAGMA integrity_check(1)").get)
    except (apsw.SQLError, apsw.CorruptError) as exc:  # of the schema itself, whose text is read only now
        return str(exc), True

    return ("", False) if report == "ok" else (report, report.startswith(_DAMAGED_PAGES))


def rescued_path(path: Path, at: float) -> Path:
    """The file of a rescue that began at that time."""
    return path.with_name(f"{path.name}.rescued-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}")


def rescued(path: Path) -> Sequence[Path]:
    """The copies beside a store that were saved by daemons when it was removed under them, oldest first."""
    return sorted(path.parent.glob(f"{path.name}.rescued-*Z"))


def identity_path(path: Path) -> Path:
    """The file with the identity of the store at `path`."""
    return path.with_name(path.name + ".id")


def match_identity(path: Path, identity: str) -> None:
    """Compare the store's identity with the file beside it, which is written if it is missing."""
    mark = identity_path(path)
    if not mark.exists():
        handle = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o660)
        with os.fdopen(handle, "w") as file:
            file.write(identity + "\n")
            file.flush()
            os.fsync(file.fileno())
        return
    if (expected := mark.read_text().strip()) != identity:
        raise StoreRefused(
            f"the store {path} is not the one that was here before ({identity}, expected {expected}). If that is "
            f"intended, remove {mark} and start again."
        )


def new_identity() -> str:
    """A random identity for a new store."""
    return str(uuid.uuid4())


def notice_path(path: Path) -> Path:
    """The notice that the store at `path` is gone."""
    return path.with_name(path.name + ".gone")


def refuse_lost(path: Path) -> None:
    """Raise `StoreRefused` while daemons have another file open as that store: what is written here would be lost."""
    if not os.access(notice_path(path), os.F_OK):
        return
    from .rescue import read_notice  # here: each command asks

    if (lost := read_notice(path)) is not None:
        raise StoreRefused(f"{lost.message}: nothing is accepted. See: claude-relay doctor")
