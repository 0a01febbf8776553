"""
The embedded engine: one SQLite file, through `apsw` for a SQLite that is free of the WAL-reset bug.

One thread writes (see `writer`), and one commit is one fsync. Reads use connections of their own and never wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ...errors import StoreUnavailable
from ...ports import ReadTransaction, Transaction
from .. import migrate
from ..group_commit import GroupCommitWriter
from ..header_encryption import HeaderCipher, KeyFile, key_path
from ..sql.insert_buffer import NewRows
from ..sql.query import Rows, Run
from ..sql.reads import Reads
from . import backup, bulk_insert, integrity
from .disk_reserve import DiskReserve
from .errors import translate, translating

T = TypeVar("T")

#: How long a write waits for another process's, in seconds: a caller at the door must not wait for much more.
_PATIENCE = 2.5
_IDLE_READERS = 32
#: So many pages in the write-ahead log are brought into the file.
_LOG = 1000


class SqliteStore:
    """Implements `ports.Store`. Opening it checks the file, brings it to the present schema and starts the writer."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        ballast: DiskReserve | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._create = create
        self._clock = clock
        self._seal = HeaderCipher(KeyFile(key_path(path)))
        self._readers: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        with translating(path):
            self._writing = self._open()
        self._session = _Session(self._writing, path, clock, ballast)
        self._writer = GroupCommitWriter(self._session, self._seal)

    def write(self, work: Callable[[Transaction], T], *, paid: bool = False) -> T:
        """
        Run `work` in a transaction and answer what it answers, once it is on disk.

        `paid`: it keeps what was paid for, so that on a full disk the ballast may make room for it.

        Raises whatever `work` raises (nothing of it is kept then), `StoreUnavailable` when the store is locked, full
        or closed, `StoreRefused` when it is corrupt.
        """
        return self._writer.write(work, paid=paid)

    def read(self, look: Callable[[ReadTransaction], T]) -> T:
        """Run `look` on a consistent view of what is committed."""
        with translating(self._path), self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return look(Reads(_runner(connection), self._clock(), self._seal))
            finally:
                connection.execute("COMMIT")

    def check(self) -> str | None:
        """What is wrong with the file, or None. Reads all of it."""
        with translating(self._path), self._reader() as connection:
            said = connection.execute("PRAGMA quick_check(1)").get

        return None if said == "ok" else str(said)

    def scrub(self) -> None:
        """Empty the write-ahead log into the file, so that what was erased stands in neither, if nobody reads now."""
        with translating(self._path), self._reader() as connection:
            connection.pragma("query_only", False)
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.pragma("query_only", True)

    def backup(self, target: Path) -> None:
        """
        A consistent copy, taken while work goes on; on disk when this returns.

        Raises `Conflict` where there is a file already, `StoreUnavailable` when it cannot be written.
        """
        with self._reader() as connection:
            backup.write_copy(connection, target)

    def close(self) -> None:
        """Finish what has been handed in, and close. May be called twice."""
        if self._writer.closed:
            return
        self._writer.close()
        while not self._readers.empty():
            self._readers.get().close()
        self._writing.close()

    def _open(self) -> apsw.Connection:
        path = self._path
        if not self._create and not path.exists() and not integrity.identity_path(path).exists():
            raise StoreUnavailable(
                f"there is no store at {path} yet. Start the relay (claude-relay serve), or name another: RELAY_STORE."
            )
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with _alone(path):
            integrity.check_before_open(path)
            # Made by us first, for the mode: SQLite gives the same to -wal and -shm. The umask says who besides us.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o660))
            connection = self._connect()
            if integrity.wal_is_safe(apsw.sqlite_lib_version()):
                connection.pragma("journal_mode", "wal")
                connection.pragma("synchronous", "full")
            else:
                connection.pragma("journal_mode", "truncate")
                connection.pragma("synchronous", "extra")
            connection.pragma("journal_size_limit", 64 * 1024 * 1024)
            connection.wal_autocheckpoint(0)  # see `_Session.tidy`
            _migrate(connection, path)
            known = connection.execute("SELECT value FROM meta WHERE key = 'identity'").get
            integrity.match_identity(path, known)
        bulk_insert.prepare(connection)

        return connection

    def _connect(self, *, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=flags)
        connection.set_busy_timeout(int(_PATIENCE * 1000))
        connection.pragma("foreign_keys", True)
        connection.pragma("secure_delete", True)  # what is purged is gone from the file
        connection.pragma("temp_store", "memory")

        return connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
            connection.pragma("query_only", True)
        try:
            yield connection
        finally:
            if self._writer.closed or self._readers.qsize() >= _IDLE_READERS:
                connection.close()
            else:
                self._readers.put(connection)


class _Session:
    """Implements `writer.Session` over the one connection that writes."""

    constraint_errors: tuple[type[BaseException], ...] = (apsw.ConstraintError,)

    def __init__(
        self, connection: apsw.Connection, path: Path, clock: Callable[[], float], ballast: DiskReserve | None
    ) -> None:
        self._connection = connection
        self._path = path
        self._ballast = ballast
        self._in_file = 0  # pages written before the log was last brought in
        self._begun = False
        self._run = _runner(connection)
        self.now = clock

    def begin(self) -> None:
        """
        Nothing yet: where all that comes is new jobs, one statement is the whole transaction.

        The time of a transaction is read before it has the lock, then. A calendar that is set, and minded by another
        process, between the two (milliseconds; seconds where the other one writes for long) is not minded in it.
        """
        self._begun = False

    def commit(self, rest: Sequence[NewRows]) -> None:
        if rest:
            bulk_insert.insert(self._connection, rest)
        if self._begun:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def is_open(self) -> bool:
        return not self._begun or self._connection.in_transaction

    def savepoint(self) -> None:
        self._begin()
        self._connection.execute("SAVEPOINT one")

    def rollback_to(self) -> None:
        self._connection.execute("ROLLBACK TO one")

    def release(self) -> None:
        self._connection.execute("RELEASE one")

    def run(self, sql: str, args: Sequence[Any]) -> Rows:
        self._begin()

        return self._run(sql, args)

    def add(self, new: Sequence[NewRows]) -> None:
        self._begin()
        bulk_insert.insert(self._connection, new)

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        """Where the disk is full and an answer was paid for, the room that was kept for it."""
        return isinstance(fault, apsw.FullError) and paid and self._ballast is not None and self._ballast.drop()

    def translate(self, fault: BaseException) -> BaseException:
        return translate(fault, self._path)

    def after_commit(self) -> None:
        """
        Bring a long log into the file, as SQLite by itself would within a commit.

        There, sixteen callers wait for two more fsyncs and a thousand pages; here, the next ones are on their way.
        """
        written, _ = self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
        if written - self._in_file >= _LOG:
            self._in_file = written
            with contextlib.suppress(apsw.Error):  # whatever is in the way: with the next thousand
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._connection.execute("BEGIN IMMEDIATE")


def sqlite_version() -> tuple[str, bool]:
    """The SQLite that is linked, and whether its WAL may be trusted."""
    version = apsw.sqlite_lib_version()

    return version, integrity.wal_is_safe(version)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    have = connection.pragma("user_version")
    if not (todo := migrate.missing("sqlite", have, where=str(path))):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrate.apply(todo, lambda sql: _run_script(connection, sql), lambda n: _stamp(connection, n))
        if have == 0:
            sql = "INSERT INTO meta (key, value) VALUES ('identity', ?)"
            connection.execute(sql, (integrity.new_identity(),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_script(connection: apsw.Connection, sql: str) -> None:
    for _ in connection.execute(sql):
        pass


def _stamp(connection: apsw.Connection, number: int) -> None:
    connection.execute(f"PRAGMA user_version = {number:d}")


def _runner(connection: apsw.Connection) -> Run:
    def run(sql: str, args: Sequence[Any]) -> Rows:
        return connection.execute(sql, tuple(args)).fetchall()

    return run


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time creates and migrates: the switch to WAL does not wait for a busy file."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o660)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
