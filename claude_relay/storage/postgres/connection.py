"""Connections to the server: with time limits on everything, so that whoever froze or was cut off holds up nobody."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import TextLoader

Connection = psycopg.Connection[tuple[Any, ...]]

#: How long a write waits for another's, in seconds: a caller at the door must not wait for much more.
CONNECT_TIMEOUT = 2.5

#: What the address may say otherwise. In seconds, but for the last, which is in milliseconds.
_DEFAULTS = {
    "application_name": "claude-relay",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

#: Of every session, whatever the server's defaults are.
_SESSION = {
    "client_min_messages": "warning",
    "synchronous_commit": "on",  # a commit that was answered is on disk
    "standard_conforming_strings": "on",
    "lock_timeout": f"{int(CONNECT_TIMEOUT * 1000)}",
    "statement_timeout": "30000",
    # Who holds the writer's lock and says nothing has frozen, or is cut off.
    "idle_in_transaction_session_timeout": "10000",
    "TimeZone": "UTC",
}


class _Number(Loader):
    """Sums of whole numbers come as NUMERIC."""

    def load(self, data: bytes | bytearray | memoryview) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def connect(url: str, **more: str) -> Connection:
    """A connection of its own. Raises `psycopg.Error` where it is not to be had."""
    parameters: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(url), "client_encoding": "UTF8", **more}
    connection = psycopg.connect(autocommit=True, cursor_factory=psycopg.ClientCursor, **parameters)
    try:
        session = dict(_SESSION)
        if connection.info.server_version >= 140000:
            session["client_connection_check_interval"] = "5000"
        connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in session.items()))
        connection.adapters.register_loader("numeric", _Number)
        connection.adapters.register_loader("json", TextLoader)
    except BaseException:
        connection.close()
        raise

    return connection


def is_idle(connection: Connection) -> bool:
    """Whether it is there, and no transaction is open on it."""
    return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
