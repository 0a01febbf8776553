"""The space of erased content: it is emptied from the write-ahead log, and given back to the disk."""

from __future__ import annotations

import time

import apsw

from ..sql.query import Run

#: The free pages that stay in the file for new jobs: a part of those in use, and at least so many.
_SPARE_PART, _SPARE_PAGES = 10, 1024
#: How often, and how many seconds apart, the log is emptied while others write or read it.
_TRIES, _PAUSE = 50, 0.05


def prepare(connection: apsw.Connection) -> None:
    """Let a file that is created through that connection shrink later; does nothing to others."""
    connection.pragma("auto_vacuum", 2)


def empty_log(connection: apsw.Connection) -> None:
    """
    Move the write-ahead log into the file and truncate it, unless a reader needs it for longer.

    Truncating waits for readers with the lock of the writer: it is tried without any wait, after the pages were moved,
    which blocks no writer. (*Measured* with a reader that stays: all writers waited for 2.5 seconds.)
    """
    connection.set_busy_timeout(0)
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not busy:
            return


def give_back(run: Run, limit: int) -> bool:
    """
    Give up to `limit` free pages back to the disk; returns whether there are more to give.

    The next checkpoint makes the file smaller. Other processes accept that because of the counter in its header:
    see `open_file`.
    """
    [(free,)], [(pages,)] = run("PRAGMA freelist_count", ()), run("PRAGMA page_count", ())
    spare = max(_SPARE_PAGES, (pages - free) // _SPARE_PART)
    if free <= spare or run("PRAGMA auto_vacuum", ())[0][0] != 2:
        return False
    [(shrunk,)] = run("PRAGMA application_id", ())
    run(f"PRAGMA incremental_vacuum({min(limit, free - spare):d})", ())
    run(f"PRAGMA application_id = {shrunk + 1:d}", ())

    return bool(free - limit > spare)
