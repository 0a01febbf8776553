"""What an operator should know of a server, in one look that writes nothing and waits for nobody."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from . import connection, schema
from .errors import server_message, translate

#: The server's own settings, whether it leads, and how much room for connections there is. `numbackends` is open to
#: all users, the rows of pg_stat_activity are not.
_LOOK = """
SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('server_version'),
    current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery(),
    current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('autovacuum')::bool,
    current_setting('synchronous_commit'), (SELECT sum(numbackends)::int FROM pg_stat_database),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), pg_database_size(current_database()),
    current_database(), current_user, coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
    inet_server_addr() IS NOT NULL AND NOT inet_server_addr() <<= ANY (ARRAY['127.0.0.0/8', '::1/128', '10.0.0.0/8',
        '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '169.254.0.0/16', 'fc00::/7', 'fe80::/10']::inet[])
"""


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """`ahead`: by how many seconds its clock is before ours. `most`: connections of ordinary users."""

    ahead: float
    version: str
    number: int
    encoding: str
    standby: bool
    fsync: bool
    full_page_writes: bool
    autovacuum: bool
    synchronous_commit: str
    connections: int
    most: int
    may_create: bool
    size: int
    database: str
    user: str
    encrypted: bool
    public: bool
    schema: int


def inspect(url: str, where: str) -> ServerInfo:
    """Ask the server. Raises what the store would raise where it cannot be asked."""
    try:
        with connection.connect(url) as session:
            asked = time.time()
            [row] = session.execute(_LOOK).fetchall()
            ours = (asked + time.time()) / 2
            ahead, version, number, encoding, standby, fsync, pages, vacuum, commits, taken, most, *rest = row
            may_create, size, database, user, encrypted, public = rest
            return ServerInfo(
                ahead=ahead - ours, version=version, number=number, encoding=encoding, standby=standby, fsync=fsync,
                full_page_writes=pages, autovacuum=vacuum, synchronous_commit=commits, connections=taken, most=most,
                may_create=may_create, size=size, database=database, user=user, encrypted=encrypted, public=public,
                schema=schema.schema(session),
            )  # fmt: skip
    except psycopg.Error as exc:
        raise translate(exc, where) from exc


def refusal(url: str) -> str | None:
    """What the server, or the way there, says against a connection; None where there is one."""
    try:
        connection.connect(url).close()
    except psycopg.Error as exc:
        return server_message(exc)

    return None
