"""From any released schema to the present one, by whoever comes first; the others wait for it."""

from __future__ import annotations

from psycopg import errors

from ...errors import StoreRefused, StoreUnavailable
from .. import migrate
from ..header_encryption import new_key
from ..sqlite import integrity
from .connection import Connection

#: The one lock: whoever holds it writes. Of this database alone; any number would do that nobody else uses.
LOCK = 0x636C_6175_6465
#: Older ones are not looked after by anyone any more.
_OLDEST = 130000
_SCHEMA = "SELECT value FROM meta WHERE key = 'schema'"


def prepare(connection: Connection, where: str, *, create: bool) -> bytes:
    """Bring the database behind that connection to the present schema; answers with the key of its sealed headers."""
    _check(connection, where)
    have = schema(connection)
    if have == 0 and not create:
        raise StoreUnavailable(
            f"there is no store at {where} yet. Start the relay (claude-relay serve), or name another: RELAY_STORE."
        )
    if migrate.missing("postgres", have, where=where):
        _migrate(connection, where)
    [row] = connection.execute("SELECT value FROM meta WHERE key = 'seal'").fetchall()

    return str(row[0]).encode()


def schema(connection: Connection) -> int:
    """The number of its schema; 0 where there is none."""
    try:
        found = connection.execute(_SCHEMA).fetchall()
    except errors.UndefinedTable:
        return 0

    return int(found[0][0]) if found else 0


def _check(connection: Connection, where: str) -> None:
    info = connection.info
    if info.server_version < _OLDEST:
        raise StoreRefused(f"the store {where} is PostgreSQL {info.server_version // 10000}: 13 or newer is needed")
    if (encoding := info.parameter_status("server_encoding")) != "UTF8":
        raise StoreRefused(
            f"the store {where} keeps its text as {encoding}, which does not hold every language. Make the database "
            f"anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def _migrate(connection: Connection, where: str) -> None:
    with connection.transaction():
        # Whoever comes second waits for as long as it takes, and then finds it done.
        connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        have = _have_now(connection)
        todo = migrate.missing("postgres", have, where=where)
        migrate.apply(todo, lambda sql: _run_script(connection, sql), lambda number: _stamp(connection, number))
        if have == 0:
            for key, value in (("identity", integrity.new_identity()), ("seal", new_key().decode())):
                connection.execute("INSERT INTO meta (key, value) VALUES (%s, %s)", (key, value))


def _have_now(connection: Connection) -> int:
    """`schema`, within a transaction that must not fail."""
    if connection.execute("SELECT to_regclass('meta')").fetchall()[0][0] is None:
        return 0
    found = connection.execute(_SCHEMA).fetchall()

    return int(found[0][0]) if found else 0


def _run_script(connection: Connection, sql: str) -> None:
    connection.execute(sql.encode())


def _stamp(connection: Connection, number: int) -> None:
    sql = "INSERT INTO meta (key, value) VALUES ('schema', %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    connection.execute(sql, (str(number),))
