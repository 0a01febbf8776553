"""
The connection that writes. One transaction writes at a time, on all machines together.

The rules of the house (find, then add; count, then claim) were made for a store with one writer. So every transaction
that writes takes one lock first, and sees all that was committed before it; the lock goes with the commit. What many
callers hand in meanwhile shares a transaction, as with SQLite (`writer`).
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
from .dialect import safe, translate
from .errors import server_message
from .errors import translate as in_words
from .schema import LOCK

log = logging.getLogger(__name__)

#: For how long the server is asked what became of a commit that it did not answer, in seconds.
_ASK = 10.0
_ASK_EVERY = 0.2

# One trip for all of it. The time is the server's, which is one for all machines; read once the lock is held.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    f" SELECT pg_advisory_xact_lock({LOCK});"
    " SELECT extract(epoch FROM clock_timestamp())::float8"
)
# Also one trip. Whoever only looked leaves no trace, and costs no sync.
_COMMIT = (
    "INSERT INTO commits (session, turn, at) VALUES (%s, %s, %s)"
    " ON CONFLICT (session) DO UPDATE SET turn = excluded.turn, at = excluded.at; COMMIT"
)
#: What a process that died has left in `commits` helps nobody after this long, in seconds.
_OLD = 86_400.0


class CommitNotApplied(psycopg.OperationalError):
    """The server was lost before it had committed, and knows nothing of that transaction."""


class Session:
    """Implements `writer.Session`. `connect` answers with a new connection; `clock` is the server's where none is."""

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
        """The one that writes."""
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
            self._find_out(exc)

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
        self._wrote = self._wrote or not sql.lstrip().startswith("SELECT")

        return run(self._connection, sql, args)

    def add(self, new: Sequence[insert_buffer.NewRows]) -> None:
        insert_buffer.insert(self.run, new)

    def now(self) -> float:
        return self._at + time.monotonic() - self._read_at if self._clock is None else self._clock()

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        """A connection that was lost before anything was committed is made anew: the server may have restarted."""
        if isinstance(fault, CommitNotApplied):
            return True
        if isinstance(fault, RelayError) or not self._connection.closed:
            return False
        with contextlib.suppress(psycopg.Error):
            self._connection = self._connect()

        return not self._connection.closed

    def translate(self, fault: BaseException) -> BaseException:
        return in_words(fault, self._where)

    def after_commit(self) -> None:
        """Nothing: the server does so by itself."""

    def close(self) -> None:
        """Let go of the server, and leave nothing there."""
        with contextlib.suppress(psycopg.Error):
            if not self._connection.closed:
                sql = "DELETE FROM commits WHERE session = %s OR at < extract(epoch FROM clock_timestamp()) - %s"
                self._connection.execute(sql, (self._name, _OLD))
        self._connection.close()

    def _commit(self) -> None:
        """Where a statement had failed and somebody has hidden it, the trace is refused: no silent roll-back."""
        if self._wrote:
            self._connection.execute(_COMMIT, (self._name, self._turn, self._at))
        else:
            self._connection.execute("COMMIT")

    def _find_out(self, lost: psycopg.Error) -> None:
        """
        Whether a commit was made whose answer was lost: its trace is looked for, over a new connection.

        Returns if it was. Raises `NotKept` if it was not, so that it can be run again; `StoreUnavailable` where nobody
        can tell in time: whoever asks again by the same requestId finds out.
        """
        if not self._wrote:
            raise CommitNotApplied(f"the server was lost: {server_message(lost)}")
        give_up = time.monotonic() + _ASK
        while time.monotonic() < give_up:
            turn = self._last_turn()
            if turn == self._turn:
                log.warning("a commit was made whose answer was lost", extra={"error": server_message(lost)})
                return
            if turn is not None:
                raise CommitNotApplied(f"the server was lost before the commit: {server_message(lost)}")
            time.sleep(_ASK_EVERY)

        raise StoreUnavailable(
            f"the store {self._where} was lost in the middle of a commit ({server_message(lost)}): it may be kept or not. "
            f"Send the same requestId again.",
            retry_after=5,
        ) from lost

    def _last_turn(self) -> int | None:
        """
        The last of this session's commits that was made; None where the server cannot be asked.

        With the lock: the backend that was to commit may still be at it, and holds it until it has ended.
        """
        try:
            if self._connection.closed:
                self._connection = self._connect()
            with self._connection.transaction():
                self._connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                sql = "SELECT coalesce(max(turn), 0) FROM commits WHERE session = %s"
                found = self._connection.execute(sql, (self._name,)).fetchall()
        except psycopg.Error:
            return None

        return int(found[0][0])


def run(connection: Connection, sql: str, args: Sequence[Any]) -> Rows:
    """One statement of the house."""
    cursor = connection.execute(translate(sql), safe(args))

    return cursor.fetchall() if cursor.description is not None else ()
