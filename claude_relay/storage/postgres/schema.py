"""Migration of the schema by the first process that opens the store; the others wait for it."""

from __future__ import annotations

from psycopg import errors

from ...errors import StoreRefused, StoreUnavailable
from .. import migrate
from ..header_encryption import new_key
from ..sqlite import integrity
from .connection import Connection
from .errors import read_only

#: The advisory lock of the one writer. It is per database; any number works that no other application uses there.
LOCK = 0x636C_6175_6465
#: The oldest version that PostgreSQL's developers still maintained when this was written.
_OLDEST = 130000
# The tables of the owner of `meta` on which the user lacks a right, and whether that owner is a superuser.
_RIGHTS = """
SELECT current_schema(), current_user, o.rolname, o.rolsuper, count(*)
FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
  AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass('meta'))
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
           AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
GROUP BY o.rolname, o.rolsuper"""
# Of an empty database: the tables are still to be created.
_MAY_NOT_CREATE = """
SELECT to_regclass('meta') IS NULL AND NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"""
# By the rows of the catalog: within a transaction `to_regclass` may still answer from before another process made them.
_HAS_META = "SELECT count(*) > 0 FROM pg_tables WHERE tablename = 'meta' AND schemaname = ANY (current_schemas(false))"
_SCHEMA = "SELECT value FROM meta WHERE key = 'schema'"


def prepare(connection: Connection, where: str, *, create: bool) -> bytes:
    """
    Migrate the database behind that connection; returns the key for its encrypted headers.

    With `create`, as daemons open it, it must accept writes; the others may read what a standby has.
    """
    _check(connection, where)
    if create:
        _check_rights(connection, where)
    if create and connection.execute("SHOW transaction_read_only").fetchall() == [("on",)]:
        raise read_only(where)
    have = schema(connection)
    if have == 0 and not create:
        raise StoreUnavailable(
            f"there is no store at {where} yet. Start the relay (claude-relay serve), or name another: RELAY_STORE."
        )
    if migrate.missing("postgres", have, where=where):
        _migrate(connection, where)
    [row] = connection.execute("SELECT value FROM meta WHERE key = 'seal'").fetchall()

    return str(row[0]).encode()


def check_start(connection: Connection, where: str) -> None:
    """Raise `StoreRefused` where a daemon would end at once; nothing is changed."""
    _check(connection, where)
    _check_rights(connection, where)
    migrate.missing("postgres", schema(connection), where=where)


def missing_grant(connection: Connection) -> str | None:
    """The statement that gives the user the rights on the tables of the store; None where it has them all."""
    rows = connection.execute(_RIGHTS).fetchall()
    if not rows:
        return None
    [(name, user, owner, is_superuser, _)] = rows
    if is_superuser:  # whose membership would give the user everything
        return f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{name}" TO "{user}"'

    return f'GRANT "{owner}" TO "{user}"'


def schema(connection: Connection) -> int:
    """The schema version; 0 for an empty database."""
    try:
        rows = connection.execute(_SCHEMA).fetchall()
    except errors.UndefinedTable:
        return 0

    return int(rows[0][0]) if rows else 0


def is_standby(connection: Connection) -> bool:
    """Whether the server is a standby, which has no tables that are not in the write-ahead log."""
    return connection.execute("SELECT pg_is_in_recovery()").fetchall() == [(True,)]


def _check(connection: Connection, where: str) -> None:
    info = connection.info
    if info.server_version < _OLDEST:
        raise StoreRefused(f"the store {where} is PostgreSQL {info.server_version // 10000}: 13 or newer is required")
    if (encoding := info.parameter_status("server_encoding")) != "UTF8":
        raise StoreRefused(
            f"the store {where} has the encoding {encoding}, which does not cover every language. Create the database "
            f"again: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def _check_rights(connection: Connection, where: str) -> None:
    grant = missing_grant(connection)
    if grant is None and connection.execute(_MAY_NOT_CREATE).fetchall() == [(True,)]:
        grant = f'GRANT CREATE, USAGE ON SCHEMA public TO "{connection.info.user}"'
    if grant is not None:
        raise StoreRefused(
            f"the store {where} may not be used by this user, who lacks rights there. As the server's superuser, in "
            f"that database: {grant}"
        )


def _migrate(connection: Connection, where: str) -> None:
    with connection.transaction():
        # A second process waits as long as it takes, and then has nothing left to do.
        connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        have = _schema_in_transaction(connection)
        todo = migrate.missing("postgres", have, where=where)
        migrate.apply(todo, lambda sql: _run_script(connection, sql), lambda number: _stamp(connection, number))
        if have == 0:
            for key, value in (("identity", integrity.new_identity()), ("seal", new_key().decode())):
                connection.execute("INSERT INTO meta (key, value) VALUES (%s, %s)", (key, value))


def _schema_in_transaction(connection: Connection) -> int:
    """`schema` without a statement that may fail, which would end the transaction."""
    if connection.execute(_HAS_META).fetchall() == [(False,)]:
        return 0
    rows = connection.execute(_SCHEMA).fetchall()

    return int(rows[0][0]) if rows else 0


def _run_script(connection: Connection, sql: str) -> None:
    connection.execute(sql.encode())


def _stamp(connection: Connection, number: int) -> None:
    sql = "INSERT INTO meta (key, value) VALUES ('schema', %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    connection.execute(sql, (str(number),))
