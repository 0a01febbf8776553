"""The PostgreSQL store: writes use one session and its lock, reads a pool of other connections."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psycopg

from ...errors import ConfigError
from ...ports import Ahead, ReadTransaction, Transaction, WriteOptions
from .. import pg_dump
from ..group_commit import GroupCommitWriter
from ..header_encryption import HeaderCipher
from ..sql.reads import Reads
from . import connection, schema
from .connection import Connection
from .errors import refused_login, translate
from .pool import ReadPool
from .session import Session, run

if TYPE_CHECKING:
    from typing import Unpack


T = TypeVar("T")

#: Seconds: clocks that differ by less are the same, and an answer that took longer tells nothing about the server's.
_SAME, _LONG = 2.0, 0.5
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT extract(epoch FROM clock_timestamp())::float8"


class PostgresStore:
    """
    Implements `ports.Store` for several machines. Opening it migrates the schema.

    Times are those of the server, one clock for all machines; `clock` replaces it in tests. `where` is the URL without
    secrets, for messages.
    """

    def __init__(self, url: str, *, where: str, create: bool = True, clock: Callable[[], float] | None = None) -> None:
        self._url, self._where, self._clock = url, where, clock
        self._readers = ReadPool(self.connect)
        self._ahead: float | None = None  # seconds that the server's clock is ahead of this machine's
        with self._translating():
            try:
                self._session = Session(self.connect, where, clock)
            except psycopg.Error as exc:
                raise (refused_login(exc, where) or exc) from exc
            try:
                key = schema.prepare(self._session.connection, where, create=create)
                self._standby = not create and schema.is_standby(self._session.connection)
            except BaseException:
                self._session.close()
                raise
        self._cipher = HeaderCipher(lambda create: key)
        self._writer = GroupCommitWriter(self._session, self._cipher)

    def connect(self) -> Connection:
        """A new connection to the same server, for LISTEN."""
        return connection.connect(self._url)

    def write(self, work: Callable[[Transaction], T], **options: Unpack[WriteOptions]) -> T:
        """
        Run `work` in a transaction and return its result once the server has it on disk.

        Raises the error of `work` (nothing of it is stored then), `StoreUnavailable` if the server is down, busy or
        full.
        """
        return self._writer.write(work, **options)

    def write_later(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, BaseException | None], None], *, ahead: Ahead
    ) -> None:
        """As `write`, without waiting: the writer's thread calls `done` with the result or the error."""
        self._writer.write_later(work, done, ahead)

    def read(self, query: Callable[[ReadTransaction], T]) -> T:
        """Run `query` on a consistent view of what is committed; again if the connection was lost meanwhile."""
        with self._translating():
            try:
                return self._read(query)
            except _ConnectionLost as lost:
                self._readers.drop()
                if isinstance(lost.cause, psycopg.errors.ConnectionTimeout):  # out of reach: again would take as long
                    raise lost.cause from None
                try:
                    return self._read(query)
                except _ConnectionLost as exc:
                    raise exc.cause from None

    def clock(self) -> float:
        """The server's time, as far as it is known: this machine's clock may be wrong, or the server's."""
        if self._clock is not None:
            return self._clock()
        if self._ahead is None:
            self.read(lambda tx: tx.now)

        return time.time() + (self._ahead or 0.0)

    def check(self, *, deep: bool = False) -> str | None:
        """Check that the tables can be read. The integrity of its files is checked by the server itself."""
        self.read(lambda tx: tx.workers())

        return None

    def lost(self) -> None:
        """None: the files are the server's."""

    def scrub(self) -> None:
        """Nothing: the server removes erased content by itself (autovacuum)."""

    def give_back(self, limit: int) -> bool:
        """Nothing: the server uses free space again, and gives the end of a table back by itself (autovacuum)."""
        return False

    def backup(self, target: Path) -> None:
        """Raises `ConfigError` with the server's own command."""
        raise ConfigError([pg_dump.instructions(self._where, target)])

    def close(self) -> None:
        """Finish queued writes and close. May be called twice."""
        self._writer.close()
        self._readers.close()
        self._session.close()

    def _read(self, query: Callable[[ReadTransaction], T]) -> T:
        with self._readers.connection() as connection:
            try:
                asked_at = time.time()
                cursor = connection.execute(_BEGIN_READ)
                cursor.nextset()
                [(at,)] = cursor.fetchall()
                self._compare_clocks(at, asked_at, time.time())
                now = at if self._clock is None else self._clock()
                reads = Reads(lambda sql, args: run(connection, sql, args), now, self._cipher)
                reads.has_search_index = not self._standby
                result = query(reads)
                connection.execute("COMMIT")
            except BaseException as exc:
                if isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError) and connection.closed:
                    raise _ConnectionLost(exc) from exc
                with contextlib.suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise

        return result

    def _compare_clocks(self, theirs: float, asked_at: float, answered_at: float) -> None:
        if self._ahead is None or 0 <= answered_at - asked_at < _LONG:
            ahead = theirs - (asked_at + answered_at) / 2
            self._ahead = ahead if abs(ahead) > _SAME else 0.0

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as exc:
            raise translate(exc, self._where) from exc


class _ConnectionLost(Exception):
    """The connection was lost during a read."""

    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(str(cause))
        self.cause = cause
