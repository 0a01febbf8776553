"""
A store for one command that only reads.

It has no writer and no rescue, and is opened without the checks that come before a first write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import apsw

from ...errors import StoreRefused
from .. import migrate
from ..header_encryption import HeaderCipher, KeyFile, key_path
from ..sql.reads import Reads
from . import log_check
from .connection import connect
from .errors import translating
from .integrity import identity_path
from .open_file import is_open
from .runner import runner

if TYPE_CHECKING:
    from typing import Unpack

    from ...ports import Ahead, LostStore, ReadTransaction, Transaction, WriteOptions

T = TypeVar("T")

#: A write-ahead log that is not longer holds no commit.
_EMPTY_LOG = 32


def open_reader(path: Path, clock: Callable[[], float] = time.time) -> SqliteReader | None:
    """
    The store at `path` to read from; None for one that only a complete opening may judge.

    That is a store that is missing, damaged, exchanged, of another version, or that was left with commits in its log
    and is open nowhere: the log is checked before SQLite takes it for its end.
    """
    try:
        if not path.exists() or not (_log_is_empty(path) or is_open(path) or log_check.in_use(path)):
            return None
        connection = connect(path)
        try:
            connection.pragma("query_only", True)
            identity = connection.execute("SELECT value FROM meta WHERE key = 'identity'").get
            fits = connection.pragma("user_version") == migrate.latest("sqlite")
            if fits and identity_path(path).read_text().strip() == identity:
                return SqliteReader(path, connection, clock)
        except BaseException:
            connection.close()
            raise
        connection.close()
    except (apsw.Error, OSError):
        pass

    return None


class SqliteReader:
    """Implements `ports.Store` for reads."""

    def __init__(self, path: Path, connection: apsw.Connection, clock: Callable[[], float]) -> None:
        self._path, self._connection, self._clock = path, connection, clock
        self._cipher = HeaderCipher(KeyFile(key_path(path)))
        self._run = runner(connection)

    def clock(self) -> float:
        """The time."""
        return self._clock()

    def read(self, query: Callable[[ReadTransaction], T]) -> T:
        """Run `query` on a consistent view of what is committed; that of the query in which it is called."""
        with translating(self._path):
            if self._connection.in_transaction:
                return query(Reads(self._run, self._clock(), self._cipher))
            self._connection.execute("BEGIN")
            try:
                return query(Reads(self._run, self._clock(), self._cipher))
            finally:
                self._connection.execute("COMMIT")

    def write(self, work: Callable[[Transaction], T], **options: Unpack[WriteOptions]) -> T:
        """Refused."""
        raise self._refusal()

    def write_later(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, BaseException | None], None], *, ahead: Ahead
    ) -> None:
        """Refused."""
        raise self._refusal()

    def check(self, *, deep: bool = False) -> str | None:
        """Refused: a check is for the complete store."""
        raise self._refusal()

    def lost(self) -> LostStore | None:
        """None: it is open for a moment."""
        return None

    def scrub(self) -> None:
        """Refused."""
        raise self._refusal()

    def give_back(self, limit: int) -> bool:
        """Refused."""
        raise self._refusal()

    def backup(self, target: Path) -> None:
        """Refused: a copy is made of the complete store."""
        raise self._refusal()

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._connection.close()

    def _refusal(self) -> StoreRefused:
        return StoreRefused(f"the store {self._path} is open for reading only")


def _log_is_empty(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size <= _EMPTY_LOG
    except FileNotFoundError:
        return True
