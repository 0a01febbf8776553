"""Whether the linked SQLite and the file it is given may be used: what is checked before a store is opened."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ...errors import StoreRefused

_HEADER = b"SQLite format 3\x00"


def wal_is_safe(version: str) -> bool:
    """
    Whether this SQLite is free of the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).

    Fixed in 3.51.3, and in the branches 3.50.7 and 3.44.6. `version` as in "3.54.1".
    """
    major, minor, patch = (int(part) for part in [*version.split("."), "0", "0"][:3])
    known = (major, minor, patch)

    return known >= (3, 51, 3) or (3, 50, 7) <= known < (3, 51, 0) or (3, 44, 6) <= known < (3, 45, 0)


def check_before_open(path: Path) -> None:
    """
    Refuse a store that is missing where one should be, empty, or no database.

    The file beside it (`relay.db.id`) says that a store was made here: without that, a vanished store would be
    replaced by an empty one without a word, and every accepted job with it.
    """
    mark = identity_path(path)
    if not path.exists():
        if mark.exists():
            raise StoreRefused(
                f"the store {path} is missing, and {mark.name} says that there was one. Bring it back "
                f"(claude-relay restore FILE), or remove {mark} to begin with an empty store."
            )
        return

    with path.open("rb") as file:
        head = file.read(len(_HEADER))
    if not head and not mark.exists():
        return  # made a moment ago, by a process that is about to fill it
    if head != _HEADER:
        what = "is empty" if not head else "is not a database"
        raise StoreRefused(
            f"the store {path} {what}: it was truncated or overwritten. Nothing was written to it. "
            f"Restore a backup: claude-relay restore FILE."
        )


def identity_path(path: Path) -> Path:
    """The file that says which store belongs here."""
    return path.with_name(path.name + ".id")


def match_identity(path: Path, known: str) -> None:
    """Hold the store's own id against the one written beside it, writing that where there is none yet."""
    mark = identity_path(path)
    if not mark.exists():
        handle = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o660)
        with os.fdopen(handle, "w") as file:
            file.write(known + "\n")
            file.flush()
            os.fsync(file.fileno())
        return
    if (there := mark.read_text().strip()) != known:
        raise StoreRefused(
            f"the store {path} is not the one that was here before ({known}, expected {there}). If that is meant, "
            f"remove {mark} and start again."
        )


def new_identity() -> str:
    """A store's name for itself."""
    return str(uuid.uuid4())
