"""Connections to the server, with time limits on everything, so that a frozen client or a lost link blocks nothing."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import TextLoader

T = TypeVar("T")

Connection = psycopg.Connection[tuple[Any, ...]]

#: How long a write waits for another's lock, in seconds: an HTTP request must not wait for much longer.
LOCK_TIMEOUT = 2.5

#: After so many seconds without an answer a second connection asks whether the server is still in reach. It may take
#: as long as it needs if it is; else the caller gets an error. TCP notices lost packets later, and never a proxy that
#: hangs.
SILENCE = 1.5

_PROBE = "2"  # seconds for that connection, the shortest that libpq has

#: Defaults that the URL may override, so that a lost link is noticed within four seconds. In seconds, except for the
#: last, which is in milliseconds.
_DEFAULTS = {
    "application_name": "claude-relay",
    "connect_timeout": "2",
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "3000",
}

#: Settings of every session, independent of the server's defaults.
_SESSION_SETTINGS = {
    "client_min_messages": "warning",
    "synchronous_commit": "on",  # a commit that was answered is on disk
    "standard_conforming_strings": "on",
    "lock_timeout": f"{int(LOCK_TIMEOUT * 1000)}",
    "statement_timeout": "30000",
    # A process that is silent while it has the writer's lock is frozen or disconnected. Shorter than the wait for that
    # lock: the others then only wait.
    "idle_in_transaction_session_timeout": "1500",
    "TimeZone": "UTC",
    # A plan that was made while a table was small is kept, and would read all of it later: each statement that is
    # repeated has an index.
    "enable_seqscan": "off",
    "jit": "off",  # a plan that has to read a table anyway counts as costly
}
#: Those on which promises rest, so that a write sets them itself: a pooler may hand it a connection without them.
_LOCAL = ("synchronous_commit", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


class _WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed when the server is out of reach, also where the network says nothing."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **more: Any) -> T:
        """As the driver's; raises `errors.ConnectionTimeout`."""
        return super().wait(self._watched(gen), *args, **more)

    def _watched(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        asked_at = time.monotonic()
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and time.monotonic() - asked_at > SILENCE:
                    self._raise_if_unreachable()
                    asked_at = time.monotonic()
                state = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value

    def _raise_if_unreachable(self) -> None:
        try:
            address = {**self.info.get_parameters(), "password": self.info.password, "connect_timeout": _PROBE}
            psycopg.connect(**address).close()  # type: ignore[arg-type]
        except errors.ConnectionTimeout:
            self.pgconn.finish()
            raise errors.ConnectionTimeout(
                f"no answer for {SILENCE:g} seconds, and none to a second connection"
            ) from None
        except psycopg.Error:
            return  # it has answered: it is full, or starting


class _NumberLoader(Loader):
    """NUMERIC as int or float: sums of integers have that type."""

    def load(self, data: bytes | bytearray | memoryview) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def connect(url: str, **more: str) -> Connection:
    """Open a connection. Raises `psycopg.Error` if that fails."""
    parameters: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(url), "client_encoding": "UTF8", **more}
    connection = _WatchedConnection.connect(autocommit=True, cursor_factory=psycopg.ClientCursor, **parameters)
    try:
        session = dict(_SESSION_SETTINGS)
        if connection.info.server_version >= 140000:
            session["client_connection_check_interval"] = "5000"
        connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in session.items()))
        connection.adapters.register_loader("numeric", _NumberLoader)
        connection.adapters.register_loader("json", TextLoader)
    except BaseException:
        connection.close()
        raise

    return connection


def local_settings(**others: str) -> str:
    """The statement that sets them for one transaction, some of them to other values."""
    values = {name: _SESSION_SETTINGS[name] for name in _LOCAL} | others

    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in values.items())


def is_idle(connection: Connection) -> bool:
    """Whether the connection is open, and without a transaction."""
    return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
