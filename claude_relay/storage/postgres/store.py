"""The store in PostgreSQL: writes go through one session and its lock, looks through connections of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg

from ...errors import ConfigError
from ...ports import ReadTransaction, Transaction
from ..group_commit import GroupCommitWriter
from ..header_encryption import HeaderCipher
from ..sql.reads import Reads
from ..sqlite import backup
from . import connection, schema
from .connection import Connection
from .errors import translate
from .pool import ReadPool
from .session import Session, run

T = TypeVar("T")

_LOOK = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT extract(epoch FROM clock_timestamp())::float8"


class PostgresStore:
    """
    Implements `ports.Store` for several machines. Opening it brings the database to the present schema.

    The time is the server's, one for all machines; `clock` takes its place in tests. `where` is the address as it may
    be shown.
    """

    def __init__(self, url: str, *, where: str, create: bool = True, clock: Callable[[], float] | None = None) -> None:
        self._url, self._where, self._clock = url, where, clock
        self._readers = ReadPool(self.connect)
        with self._plainly():
            self._session = Session(self.connect, where, clock)
            try:
                key = schema.prepare(self._session.connection, where, create=create)
            except BaseException:
                self._session.close()
                raise
        self._seal = HeaderCipher(lambda make: key)
        self._writer = GroupCommitWriter(self._session, self._seal)

    def connect(self) -> Connection:
        """A new connection to the same server: for whoever listens there."""
        return connection.connect(self._url)

    def write(self, work: Callable[[Transaction], T], *, paid: bool = False) -> T:
        """
        Run `work` in a transaction and answer what it answers, once the server has it on disk.

        Raises whatever `work` raises (nothing of it is kept then), `StoreUnavailable` when the server is away, busy or
        full.
        """
        return self._writer.write(work, paid=paid)

    def read(self, look: Callable[[ReadTransaction], T]) -> T:
        """Run `look` on a consistent view of what is committed. Once more where the connection was lost over it."""
        with self._plainly():
            try:
                return self._read(look)
            except _Lost:
                self._readers.drop()
                try:
                    return self._read(look)
                except _Lost as exc:
                    raise exc.cause from None

    def check(self) -> str | None:
        """Whether the tables can be read. That its files are whole is the server's own business."""
        self.read(lambda view: view.workers())

        return None

    def scrub(self) -> None:
        """The server clears away by itself what was erased (autovacuum)."""

    def backup(self, target: Path) -> None:
        """Is the server's: raises `ConfigError` with the command."""
        raise ConfigError([backup.backup_with_pg_dump(self._where, target)])

    def close(self) -> None:
        """Finish what has been handed in, and close. May be called twice."""
        self._writer.close()
        self._readers.close()
        self._session.close()

    def _read(self, look: Callable[[ReadTransaction], T]) -> T:
        with self._readers.one() as connection:
            try:
                cursor = connection.execute(_LOOK)
                cursor.nextset()
                [(at,)] = cursor.fetchall()
                now = at if self._clock is None else self._clock()
                answer = look(Reads(lambda sql, args: run(connection, sql, args), now, self._seal))
                connection.execute("COMMIT")
            except BaseException as exc:
                if isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError) and connection.closed:
                    raise _Lost(exc) from exc
                with contextlib.suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise

        return answer

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as exc:
            raise translate(exc, self._where) from exc


class _Lost(Exception):
    """The connection went away over a look."""

    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(str(cause))
        self.cause = cause
