"""
The connection that writes. One transaction writes at a time, on all machines together.

The use cases (find, then add; count, then claim) rely on a store with one writer. So every transaction that writes
takes one advisory lock first, and sees everything committed before it; the lock is released with the commit. Callers
that come meanwhile share a transaction, as with SQLite (`group_commit`).
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from ...errors import RelayError, StoreUnavailable
from ..sql import insert_buffer
from ..sql.query import Rows
from .connection import Connection
from .dialect import to_parameters, translate
from .errors import server_message
from .errors import translate as translate_error
from .schema import LOCK

log = logging.getLogger(__name__)

#: How long the fate of a commit without a reply is looked up, and how often, in seconds.
_RESOLVE_TIMEOUT = 10.0
_RESOLVE_EVERY = 0.2

# One round trip. The time is the server's, which is one for all machines; read once the lock is held.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    f" SELECT pg_advisory_xact_lock({LOCK});"
    " SELECT extract(epoch FROM clock_timestamp())::float8"
)
# Also one round trip. A transaction that only read writes no row here, and costs no sync.
_COMMIT = (
    "INSERT INTO commits (session, turn, at) VALUES (%s, %s, %s)"
    " ON CONFLICT (session) DO UPDATE SET turn = excluded.turn, at = excluded.at; COMMIT"
)
#: Rows of dead processes in `commits` are deleted after this time, in seconds.
_STALE = 86_400.0


class CommitNotApplied(psycopg.OperationalError):
    """The server was lost before the commit, and has rolled the transaction back."""


class Session:
    """Implements `group_commit.Session`. `connect` opens a connection; without a `clock` the server's is used."""

    constraint_errors: tuple[type[BaseException], ...] = (psycopg.IntegrityError, psycopg.DataError)

    def __init__(self, connect: Callable[[], Connection], where: str, clock: Callable[[], float] | None) -> None:
        self._connect = connect
        self._where = where
        self._clock = clock
        self._connection = connect()
        self._name = uuid.uuid4().hex
        self._turn = 0
        self._wrote = False
        self._at = self._read_at = 0.0

    @property
    def connection(self) -> Connection:
        """The connection that writes."""
        return self._connection

    def begin(self) -> None:
        try:
            cursor = self._connection.execute(_BEGIN)
            while cursor.nextset():
                pass
            [(self._at,)] = cursor.fetchall()
        except BaseException:
            self.rollback()
            raise
        self._read_at = time.monotonic()
        self._turn += 1
        self._wrote = False

    def commit(self, rest: Sequence[insert_buffer.NewRows]) -> None:
        if rest:
            self.add(rest)
        try:
            self._commit()
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            if not self._connection.closed:
                raise
            self._resolve_commit(exc)

    def rollback(self) -> None:
        connection = self._connection
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")

    def is_open(self) -> bool:
        connection = self._connection
        return not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE

    def savepoint(self) -> None:
        self._connection.execute("SAVEPOINT one")

    def rollback_to(self) -> None:
        self._connection.execute("ROLLBACK TO SAVEPOINT one")

    def release(self) -> None:
        self._connection.execute("RELEASE SAVEPOINT one")

    def run(self, sql: str, args: Sequence[Any]) -> Rows:
        self._wrote = self._wrote or not sql.lstrip().startswith(("SELECT", "WITH RECURSIVE"))

        return run(self._connection, sql, args)

    def add(self, new: Sequence[insert_buffer.NewRows]) -> None:
        insert_buffer.insert(self.run, new)

    def now(self) -> float:
        return self._at + time.monotonic() - self._read_at if self._clock is None else self._clock()

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        """Reconnect if the connection was lost before the commit: the server may have restarted."""
        if isinstance(fault, CommitNotApplied):
            return True
        if isinstance(fault, RelayError) or not self._connection.closed:
            return False
        with contextlib.suppress(psycopg.Error):
            self._connection = self._connect()

        return not self._connection.closed

    def translate(self, fault: BaseException) -> BaseException:
        return translate_error(fault, self._where)

    def verify(self) -> None:
        """Nothing: the server keeps its files."""

    def after_commit(self) -> None:
        """Nothing: the server checkpoints by itself."""

    def close(self) -> None:
        """Close the connection, and delete this process's row in `commits`."""
        with contextlib.suppress(psycopg.Error):
            if not self._connection.closed:
                sql = "DELETE FROM commits WHERE session = %s OR at < extract(epoch FROM clock_timestamp()) - %s"
                self._connection.execute(sql, (self._name, _STALE))
        self._connection.close()

    def _commit(self) -> None:
        """Commit. Fails after a suppressed error: the row in `commits` is refused then, and no rollback is silent."""
        if self._wrote:
            self._connection.execute(_COMMIT, (self._name, self._turn, self._at))
        else:
            self._connection.execute("COMMIT")

    def _resolve_commit(self, lost: psycopg.Error) -> None:
        """
        Look up over a new connection whether a commit was made whose reply was lost, by its row in `commits`.

        Returns if it was. Raises `CommitNotApplied` if it was not, so that it can be run again; `StoreUnavailable` if
        that is not known in time: a repeated request with the same requestId gets the answer.
        """
        if not self._wrote:
            raise CommitNotApplied(f"the server was lost: {server_message(lost)}")
        deadline = time.monotonic() + _RESOLVE_TIMEOUT
        while time.monotonic() < deadline:
            turn = self._last_turn()
            if turn == self._turn:
                log.warning("a commit was made whose reply was lost", extra={"error": server_message(lost)})
                return
            if turn is not None:
                raise CommitNotApplied(f"the server was lost before the commit: {server_message(lost)}")
            time.sleep(_RESOLVE_EVERY)

        raise StoreUnavailable(
            f"the store {self._where} was lost during a commit ({server_message(lost)}), which may be stored or not. "
            f"Send the same requestId again.",
            retry_after=5,
        ) from lost

    def _last_turn(self) -> int | None:
        """
        The number of this session's last commit; None if the server cannot be reached.

        With the lock: the backend of the lost connection may still be committing, and has the lock until it ends.
        """
        try:
            if self._connection.closed:
                self._connection = self._connect()
            with self._connection.transaction():
                self._connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                sql = "SELECT coalesce(max(turn), 0) FROM commits WHERE session = %s"
                [(turn,)] = self._connection.execute(sql, (self._name,)).fetchall()
        except psycopg.Error:
            return None

        return int(turn)


def run(connection: Connection, sql: str, args: Sequence[Any]) -> Rows:
    """Run a statement of the shared SQL."""
    cursor = connection.execute(translate(sql), to_parameters(args))

    return cursor.fetchall() if cursor.description is not None else ()
