"""Facts about a server for the operator, in one query that writes nothing and waits for no lock."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from . import connection, schema
from .errors import server_message, translate

#: Its settings, whether it is a standby, and its free connections. All users may read `numbackends`, but not the rows
#: of pg_stat_activity.
_QUERY = """
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
    """`ahead`: seconds that its clock is ahead of ours. `most`: the limit of connections for ordinary users."""

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
    """Query the server. Raises the same errors as the store if that fails."""
    try:
        with connection.connect(url) as session:
            asked_at = time.time()
            [row] = session.execute(_QUERY).fetchall()
            ours = (asked_at + time.time()) / 2
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
    """The reason why a connection is refused or fails; None if it succeeds."""
    try:
        connection.connect(url).close()
    except psycopg.Error as exc:
        return server_message(exc)

    return None
