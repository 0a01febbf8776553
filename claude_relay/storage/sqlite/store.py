"""
The SQLite engine: one file, through `apsw` for a SQLite without the WAL-reset bug.

One thread writes (`group_commit`), and one commit is one fsync. Reads use other connections and never wait for it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from ...core import damage
from ...errors import RelayError, StoreUnavailable
from .. import migrate
from ..group_commit import GroupCommitWriter
from ..header_encryption import HeaderCipher, KeyFile, key_path
from ..sql import tallies
from ..sql.lookahead import Lookup, is_time
from ..sql.reads import Reads
from . import backup, bulk_insert, free_space, integrity, log_check
from .connection import BUSY_TIMEOUT, connect, exclusive
from .errors import corrupt, misfit, translate, translating
from .open_file import OpenFile, is_open
from .rescue import Rescue
from .runner import runner
from .statements import look_up

if TYPE_CHECKING:
    from typing import Unpack

    from ...ports import Ahead, LostStore, ReadTransaction, Transaction, WriteOptions
    from ..sql.insert_buffer import NewRows
    from ..sql.query import Rows
    from .disk_reserve import DiskReserve

T = TypeVar("T")
log = logging.getLogger(__name__)
_MAX_IDLE_READERS = 32
#: How long writes that are not urgent wait for others, in seconds: four POSTs at once to a receiver come back together,
#: and the next four wait for their commit (*measured*: 172 callbacks a second with 4 ms, 100 with 20).
_PATIENCE = 0.004
#: The most bytes of a file that is checked whole by the first process that opens it: some hundredths of a second.
_CHECKED_AT_OPEN = 16 * 2**20
#: Pages in the write-ahead log from which on it is checkpointed.
_CHECKPOINT_PAGES = 1000


class SqliteStore:
    """Implements `ports.Store`. Opening it checks the file, migrates the schema and starts the writer."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        reserve: DiskReserve | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._create = create
        self._clock = clock
        key = KeyFile(key_path(path))
        self._cipher = HeaderCipher(key)
        self._readers: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        self._problem: str | None = None  # of the file or its log, met as it was opened
        with translating(path):
            self._writing = self._open()
            self._rescue = Rescue(path, self._file, self._connect, key)
        self._session = _Session(self._writing, path, self._file, clock, reserve)
        self._writer = GroupCommitWriter(self._session, self._cipher, patience=_PATIENCE)
        if self._problem is not None:
            self._note_damage(self._problem)

    def write(self, work: Callable[[Transaction], T], **options: Unpack[WriteOptions]) -> T:
        """
        Run `work` in a transaction and return its result once it is on disk.

        `paid`: on a full disk the disk reserve may be dropped for it. Raises the error of `work` (nothing
        of it is stored then), `StoreUnavailable` if the store is locked, full or closed, `StoreRefused` if it is
        corrupt. Where the file is no longer the one at its path, only results that were paid for are stored: the rescue
        saves them.
        """
        if self._file.suspect and not (options.get("paid") and not self._file.overwritten):
            self._check_in_place()

        return self._writer.write(work, **options)

    def write_later(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, BaseException | None], None], *, ahead: Ahead
    ) -> None:
        """As `write`, without waiting: the writer's thread calls `done` with the result or the error."""
        if self._file.suspect:
            self._check_in_place()

        self._writer.write_later(work, done, ahead)

    def read(self, query: Callable[[ReadTransaction], T]) -> T:
        """Run `query` on a consistent view of what is committed."""
        with translating(self._path), self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return query(Reads(runner(connection), self._clock(), self._cipher))
            finally:
                connection.execute("COMMIT")

    def check(self, *, deep: bool = False) -> str | None:
        """Read the complete file; returns the corruption, or None. `deep`: indexes are compared with their tables."""
        with translating(self._path), self._reader() as connection:
            report = connection.execute(f"PRAGMA {'integrity_check' if deep else 'quick_check'}(1)").get

        return None if report == "ok" else str(report)

    def lost(self) -> LostStore | None:
        """The loss of a file that was removed or replaced while open; the first call begins its rescue."""
        return self._rescue.state()

    def scrub(self) -> None:
        """Empty the write-ahead log into the file, so that erased content is in neither; a reader may prevent it."""
        with translating(self._path), self._reader() as connection:
            connection.pragma("query_only", False)
            try:
                free_space.empty_log(connection)
            finally:
                connection.set_busy_timeout(int(BUSY_TIMEOUT * 1000))
                connection.pragma("query_only", True)

    def give_back(self, limit: int) -> bool:
        """Give free space back to the disk, up to that many pages; returns whether there is more to give."""
        return self.write(lambda tx: free_space.give_back(self._session.run, limit))

    def backup(self, target: Path) -> None:
        """
        Write a consistent copy while the store is in use; it is on disk when this returns.

        Raises `Conflict` if the file exists, `StoreUnavailable` if it cannot be written.
        """
        with self._reader() as connection:
            backup.write_copy(connection, target)

    def clock(self) -> float:
        """The time."""
        return self._clock()

    def close(self) -> None:
        """Finish queued writes and close. May be called twice."""
        if self._writer.closed:
            return
        self._writer.close()
        self._rescue.close(lost=self._file.fault() is not None)
        for connection in (*self._idle_readers(), self._writing):
            if self._file.overwritten:  # closing it must not write the old log over the new content
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close()
        self._file.close()

    def _check_content(self, connection: apsw.Connection) -> None:
        """Refuse a file with damaged pages; where only an index and its table differ, the others go on."""
        report, pages = integrity.check_content(connection)
        if pages:
            connection.close()
            raise corrupt(self._path, report)
        if report:
            self._problem = self._problem or f"an index of the file: {report}"

    def _note_damage(self, what: str) -> None:
        log.error("%s: %s", self._path, what)
        with contextlib.suppress(RelayError):  # a store that cannot be written now is watched by other checks
            self.write(
                lambda tx: tx.set_shared_value(damage.KEY, damage.add(tx.shared_value(damage.KEY), what, now=tx.now))
            )

    def _check_in_place(self) -> None:
        if (fault := _not_in_place(self._file)) is not None:
            raise fault

    def _idle_readers(self) -> Iterator[apsw.Connection]:
        while not self._readers.empty():
            yield self._readers.get()

    def _connect(self) -> apsw.Connection:
        """A connection to the file; a store that counts its statements overrides this."""
        return connect(self._path)

    def _open(self) -> apsw.Connection:
        path = self._path
        known = integrity.identity_path(path).exists() or integrity.rescued(path)
        if not self._create and not path.exists() and not known:
            raise StoreUnavailable(
                f"there is no store at {path} yet. Start the relay (claude-relay serve), or name another: RELAY_STORE."
            )
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with exclusive(path):
            integrity.check_before_open(path)
            # Created here for its mode, which SQLite copies to -wal and -shm. The umask decides about group access.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o660))
            is_first = not is_open(path) and not log_check.in_use(path)
            self._problem = log_check.check(path) if is_first else None
            self._file = OpenFile(path)
            connection = self._connect()
            free_space.prepare(connection)
            if integrity.wal_is_safe(apsw.sqlite_lib_version()):
                connection.pragma("journal_mode", "wal")
                connection.pragma("synchronous", "full")
            else:
                connection.pragma("journal_mode", "truncate")
                connection.pragma("synchronous", "extra")
            connection.pragma("journal_size_limit", 64 * 1024 * 1024)
            connection.wal_autocheckpoint(0)  # see `_Session.after_commit`
            _migrate(connection, path)
            identity = connection.execute("SELECT value FROM meta WHERE key = 'identity'").get
            integrity.match_identity(path, identity)
            self._file.watch(cookie=connection.pragma("schema_version"), version=connection.pragma("user_version"))
        bulk_insert.prepare(connection)
        if is_first and path.stat().st_size <= _CHECKED_AT_OPEN:
            self._check_content(connection)

        return connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            self._check_in_place()  # another file at the path must not be opened with this store's log
            connection = self._connect()
            connection.pragma("query_only", True)
        try:
            yield connection
        finally:
            if self._writer.closed or self._readers.qsize() >= _MAX_IDLE_READERS:
                connection.close()
            else:
                self._readers.put(connection)


class _Session:
    """Implements `group_commit.Session` over the one connection that writes."""

    waited = staticmethod(float)  # zero
    constraint_errors: tuple[type[BaseException], ...] = (apsw.ConstraintError,)
    refuses_used_ids = True

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        file: OpenFile,
        clock: Callable[[], float],
        reserve: DiskReserve | None,
    ) -> None:
        self._connection, self._file = connection, file
        self._path = path
        self._reserve = reserve
        self._checkpointed = 0  # pages written up to the last checkpoint
        self._begun, self._refuses = False, True
        self._run = runner(connection)
        self._clock = clock
        self._at = 0.0

    def begin(self, lookups: Sequence[Lookup]) -> Sequence[Rows]:
        """
        Only make the look-ups: if the group consists of new jobs, one statement is the complete transaction.

        The time of a transaction is then read before it has the lock. A clock step that another process handles between
        the two (milliseconds; seconds if the other one writes for long) is not applied to it.
        """
        self._begun, self._refuses = False, True
        self._at = self._clock()

        try:
            return look_up(self.run, lookups, lambda value: self._at if is_time(value) else value)
        except BaseException:
            self.rollback()  # or the lock would be held until the next write
            raise

    def look_up(self, lookups: Sequence[Lookup]) -> Sequence[Rows]:
        """None: a statement costs no trip here."""
        return ()

    def now(self) -> float:
        return self._at

    def commit(self, rest: Sequence[NewRows], numbers: Sequence[Sequence[Any]]) -> None:
        if len(numbers) > len(rest):
            self.run(tallies.insert(len(numbers)), [value for row in numbers for value in row])
            numbers = ()
        if rest:
            bulk_insert.insert(self._connection, rest, numbers, refuse_used_ids=self._refuses)
        if self._begun:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def is_open(self) -> bool:
        return not self._begun or self._connection.in_transaction

    def savepoint(self) -> None:
        self._begin()
        self._refuses = False
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
        bulk_insert.insert(self._connection, new, refuse_used_ids=self._refuses)

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        """On a full disk, drop the disk reserve for a result that was paid for."""
        return isinstance(fault, apsw.FullError) and paid and self._reserve is not None and self._reserve.drop()

    def translate(self, fault: BaseException) -> BaseException:
        return misfit(self._connection, fault) if isinstance(fault, apsw.SQLError) else translate(fault, self._path)

    def verify(self) -> BaseException | None:
        """A file that was removed or replaced has the commit, and its path has not."""
        return _not_in_place(self._file)

    def after_commit(self) -> None:
        """
        Checkpoint a long write-ahead log, as SQLite by itself would do within a commit.

        There, sixteen callers would wait for two more fsyncs and a thousand pages; here they have their answers.
        """
        written, _ = self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
        if written - self._checkpointed >= _CHECKPOINT_PAGES and not self._file.overwritten:
            self._checkpointed = written
            with contextlib.suppress(apsw.Error):  # again after the next thousand pages
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._connection.execute("BEGIN IMMEDIATE")


def _not_in_place(file: OpenFile) -> StoreUnavailable | None:
    if (fault := file.fault()) is None:
        return None

    return StoreUnavailable(f"{fault}: nothing is accepted. See: claude-relay doctor", retry_after=30)


def sqlite_version() -> tuple[str, bool]:
    """The linked SQLite's version, and whether its WAL is safe to use."""
    return (version := apsw.sqlite_lib_version()), integrity.wal_is_safe(version)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    have = connection.pragma("user_version")
    if not (todo := migrate.missing("sqlite", have, where=str(path))):
        return
    run = functools.partial(_run_script, connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrate.apply(todo, run, lambda number: run(f"PRAGMA user_version = {number:d}"))
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
