"""
The connection that writes. One transaction writes at a time, on all machines together.

The use cases (find, then add; count, then claim) rely on a store with one writer. So every transaction that writes
takes one advisory lock first, and sees everything committed before it; the lock is released with the commit. Callers
that come meanwhile share a transaction, as with SQLite (`group_commit`).

While it is held, every message to the server and back makes all others wait: *measured*, a fleet did one job for each
43 of them. So there are two a group: BEGIN goes out with the look-ups that were announced, and COMMIT with the writes
whose answer decides nothing. Statements in between are sent only for a look-up that was not announced.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from ...errors import RelayError, StoreUnavailable
from ..sql import insert_buffer, tallies
from ..sql.lookahead import Lookup, is_read
from ..sql.query import Rows
from . import messages
from .connection import Connection, local_settings
from .dialect import to_parameters, translate
from .errors import server_message
from .errors import translate as translate_error
from .pulse import Pulse
from .schema import LOCK
from .statements import LOST_PLANS, Statements

log = logging.getLogger(__name__)

#: How long the fate of a commit without a reply is looked up, and how often, in seconds.
_RESOLVE_TIMEOUT = 10.0
_RESOLVE_EVERY = 0.2

# One message. Whether it may write is the server's decision: an operator, or a host whose disk is nearly full, sets a
# database to read only. The time is the server's, which is one for all machines; read once the lock is held.
_BEGIN, _LOCK = "BEGIN ISOLATION LEVEL READ COMMITTED", f"SELECT pg_advisory_xact_lock({LOCK})"
# With the writes and COMMIT one message. A transaction that only read writes no row here, and costs no sync.
_FIRST_MARK = (
    "INSERT INTO commits (turn, at, session) VALUES (?, ?, ?)"
    " ON CONFLICT (session) DO UPDATE SET turn = excluded.turn, at = excluded.at"
)
_DELETE_MARK = "DELETE FROM commits WHERE session = ?"
_MARK = "UPDATE commits SET turn = ?, at = ? WHERE session = ? RETURNING 1"
#: The commits that use one row of `commits`: while another client has a snapshot open, every version of a row stays,
#: and an UPDATE passes over all of them (*measured*: 100 pages a job after a thousand).
_COMMITS_A_ROW = 64
#: Seconds of silence after which writes are sent although the commit is not reached: the server ends a silent session.
_SILENCE = 0.4
#: A transaction that was ended once for its silence is not silent the second time, for so many seconds at most: this
#: process computes. A frozen one sends nothing, so that the others wait no longer the second time.
_PATIENCE = 10.0
#: The part of the latest wait for the lock in their mean.
_LATEST = 0.3
#: Characters of writes that are kept for the commit; more are sent at once.
_MAX_PENDING = 8 * 2**20
#: In place of a number: the link is cut, so that waiting for the server gains nothing.
_CUT_OFF = -1
#: For so many seconds a server that gave no answer is not connected to again.
_OUT_OF_REACH = 1.0
#: Rows of dead processes in `commits` are deleted after this time, in seconds.
_STALE = 86_400.0


class CommitNotApplied(psycopg.OperationalError):
    """The server was lost before the commit, and has rolled the transaction back."""


class Session:
    """Implements `group_commit.Session`. `connect` opens a connection; without a `clock` the server's is used."""

    constraint_errors: tuple[type[BaseException], ...] = (psycopg.IntegrityError, psycopg.DataError)
    refuses_used_ids = False  # the look-ups cost no trip

    def __init__(self, connect: Callable[[], Connection], where: str, clock: Callable[[], float] | None) -> None:
        self._connect = connect
        self._where = where
        self._clock = clock
        self._connection = connect()
        self._statements = Statements()
        self._name = uuid.uuid4().hex
        self._turn = 0
        self._wrote = False
        self._row = ""  # this session's last row in `commits`
        self._at = 0.0
        self._together = True  # whether writes may wait for the commit
        self._pending: list[str] = []  # writes that were not sent yet
        self._pending_size = 0
        self._sent_at = 0.0
        self._waited = 0.0
        self._was_slow = False
        self._pulse: Pulse | None = None
        self._unreachable_at = -math.inf

    @property
    def connection(self) -> Connection:
        """The connection that writes."""
        return self._connection

    def begin(self, lookups: Sequence[Lookup]) -> Sequence[Rows]:
        self._pending, self._pending_size, self._together, self._wrote = [], 0, True, False
        resets = self._statements.begin(self._connection)
        asked = messages.Lookups(lookups, self._statements.text)
        # Plans are made before the lock is waited for, and before look-ups use them.
        first = (_BEGIN, local_settings(), *resets, *self._statements.take_new(), _LOCK)
        asked_at = time.monotonic()
        try:
            answers = self._send(*first, messages.begin_time(self._clock), *asked.statements)[len(first) :]
        except BaseException:
            self.rollback()
            raise
        if self._was_slow:
            self._pulse = Pulse(self._connection, every=_SILENCE, seconds=_PATIENCE)
        self._was_slow = False
        # A distant server counts as a busy one: there, too, larger groups are faster.
        self._waited += (time.monotonic() - asked_at - self._waited) * _LATEST
        self._at = float(answers[0][0][0])
        self._turn += 1

        return asked.rows(answers[1:])

    def waited(self) -> float:
        return self._waited

    def look_up(self, lookups: Sequence[Lookup]) -> Sequence[Rows]:
        asked = messages.Lookups(lookups, self._statements.text)

        return asked.rows(self._send_pending(*asked.statements)[-len(asked.statements) :]) if lookups else ()

    def commit(self, rest: Sequence[insert_buffer.NewRows], numbers: Sequence[Sequence[Any]]) -> None:
        if rest:
            self.add(rest)
        if numbers:
            self.run(tallies.insert(len(numbers)), [value for row in numbers for value in row])
        self._stop_pulse()
        try:
            self._commit()
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            if not self._connection.closed:
                raise
            self._resolve_commit(exc)

    def rollback(self) -> None:
        self._stop_pulse()
        connection = self._connection
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                connection.execute("; ".join(("ROLLBACK", *self._statements.forget())))

    def is_open(self) -> bool:
        connection = self._connection
        return not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE

    def savepoint(self) -> None:
        self._together = False
        self._connection.execute("SAVEPOINT one")

    def rollback_to(self) -> None:
        self._connection.execute("ROLLBACK TO SAVEPOINT one")

    def release(self) -> None:
        self._connection.execute("RELEASE SAVEPOINT one")

    def run(self, sql: str, args: Sequence[Any]) -> Rows:
        text = self._statements.text if self._together else self._merge
        if is_read(sql):
            return self._send_pending(text(sql, args))[-1]
        self._wrote = True
        guarded = messages.is_guarded(sql)
        if not self._together or ("RETURNING" in sql and not guarded):
            return self._send_pending(text(sql, args))[-1]
        self._pending.append(text(messages.guard(sql) if guarded else sql, args))
        self._pending_size += len(self._pending[-1])
        if self._pending_size > _MAX_PENDING or time.monotonic() - self._sent_at > _SILENCE:
            self._send_pending()

        return ((1,),) if guarded else ()

    def add(self, new: Sequence[insert_buffer.NewRows]) -> None:
        insert_buffer.insert(self.run, [(job, _texts(request), event) for job, request, event in new])

    def now(self) -> float:
        return self._at

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        """Reconnect if the connection was lost before the commit: the server may have restarted."""
        self._was_slow = isinstance(fault, errors.IdleInTransactionSessionTimeout)
        if isinstance(fault, (CommitNotApplied, *LOST_PLANS)):
            return True
        if isinstance(fault, RelayError) or not self._connection.closed:
            return False
        # Callers that waited behind those who found out that the server is out of reach wait no longer.
        if isinstance(fault, errors.ConnectionTimeout):
            self._unreachable_at = time.monotonic()
        if time.monotonic() - self._unreachable_at < _OUT_OF_REACH:
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
        """Close the connection, and delete this process's rows in `commits`."""
        with contextlib.suppress(psycopg.Error):
            if not self._connection.closed:
                sql = "DELETE FROM commits WHERE session = %s OR at < extract(epoch FROM clock_timestamp()) - %s"
                self._connection.execute(sql, (self._row, _STALE))
        self._connection.close()

    def _stop_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None

    def _commit(self) -> None:
        """Commit. Fails after a suppressed error: the row in `commits` is refused then, and no rollback is silent."""
        if not self._wrote:
            self._send_pending("COMMIT")
            return
        row = self._row_of(self._turn)
        values = (self._turn, self._at, row)
        # A second run, after an error, does not rely on that row: another process deletes those of a day ago.
        if row == self._row and self._together:
            # Not prepared: while a snapshot stays open this table grows, and a plan for one page would read all.
            self._send_pending(messages.guard(self._merge(_MARK, values)), "COMMIT")
            return
        old = [self._merge(_DELETE_MARK, (self._row,))] if self._row not in ("", row) else []
        self._send_pending(self._merge(_FIRST_MARK, values), *old, "COMMIT")
        self._row = row

    def _row_of(self, turn: int) -> str:
        return f"{self._name}.{turn // _COMMITS_A_ROW}"

    def _merge(self, sql: str, args: Sequence[Any]) -> str:
        return psycopg.ClientCursor(self._connection).mogrify(translate(sql).strip(), to_parameters(args))

    def _send_pending(self, *statements: str) -> Sequence[Rows]:
        pending, self._pending, self._pending_size = self._pending, [], 0

        new = self._statements.take_new()

        return self._send(*new, *pending, *statements)[len(new) :]

    def _send(self, *statements: str) -> Sequence[Rows]:
        """One message to the server; returns the rows of each statement. After an error it runs no more of them."""
        try:
            cursor = self._connection.execute("; ".join(statements))
        except LOST_PLANS:
            self._statements.prepares = False
            raise
        answers: list[Rows] = []
        more: bool | None = True
        while more:
            answers.append(cursor.fetchall() if cursor.rownumber is not None else ())  # without its description
            more = cursor.nextset()
        self._sent_at = time.monotonic()

        return answers

    def _resolve_commit(self, lost: psycopg.Error) -> None:
        """
        Look up over a new connection whether a commit was made whose reply was lost, by its row in `commits`.

        Returns if it was. Raises `CommitNotApplied` if it was not, so that it can be run again; `StoreUnavailable` if
        that is not known in time: a repeated request with the same requestId gets the answer.
        """
        if not self._wrote:
            raise CommitNotApplied(f"the server was lost: {server_message(lost)}")
        if isinstance(lost, errors.ConnectionTimeout):
            self._unreachable_at = time.monotonic()
        deadline = time.monotonic() + _RESOLVE_TIMEOUT
        while not isinstance(lost, errors.ConnectionTimeout) and time.monotonic() < deadline:
            turn = self._last_turn()
            if turn == self._turn:
                log.warning("a commit was made whose reply was lost", extra={"error": server_message(lost)})
                return
            if turn is _CUT_OFF:
                break
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
        The number of this session's last commit; None if the server cannot be reached, `_CUT_OFF` if it is silent.

        With the lock: the backend of the lost connection may still be committing, and has the lock until it ends.
        """
        try:
            if self._connection.closed:
                self._connection = self._connect()
            with self._connection.transaction():
                self._connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                sql = "SELECT coalesce(max(turn), 0) FROM commits WHERE session = %s"
                [(turn,)] = self._connection.execute(sql, (self._row_of(self._turn),)).fetchall()
        except errors.ConnectionTimeout:
            return _CUT_OFF
        except psycopg.Error:
            return None

        return int(turn)


def run(connection: Connection, sql: str, args: Sequence[Any]) -> Rows:
    """Run a statement of the shared SQL."""
    cursor = connection.execute(translate(sql), to_parameters(args))

    return cursor.fetchall() if cursor.description is not None else ()


def _texts(row: Sequence[Any]) -> Sequence[Any]:
    """A row with the UTF-8 of a long text as that text."""
    return [str(value, "utf-8") if isinstance(value, memoryview) else value for value in row]
