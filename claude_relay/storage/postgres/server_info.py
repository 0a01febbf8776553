"""Facts about a server for the operator, in one query that writes nothing and waits for no lock."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from ...core.lazy_dataclass import dataclass
from . import connection, schema
from .errors import refused_login, reset_read_only, server_message, translate

#: Its settings, whether it is a standby, and its free connections. All users may read `numbackends`, but not the rows
#: of pg_stat_activity.
_QUERY = """
SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('server_version'),
    current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery(),
    current_setting('transaction_read_only')::bool,
    current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('autovacuum')::bool,
    current_setting('synchronous_commit'), (SELECT sum(numbackends)::int FROM pg_stat_database),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), pg_database_size(current_database()),
    current_database(), current_user, coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
    inet_server_addr() IS NOT NULL AND NOT inet_server_addr() <<= ANY (ARRAY['127.0.0.0/8', '::1/128', '10.0.0.0/8',
        '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '169.254.0.0/16', 'fc00::/7', 'fe80::/10']::inet[]),
    greatest(
        (SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8 FROM pg_stat_activity
         WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()),
        (SELECT max(extract(epoch FROM clock_timestamp() - prepared))::float8 FROM pg_prepared_xacts), 0)
"""
#: Seconds after which a snapshot of another client counts as left open: dead rows stay for as long.
OLD_SNAPSHOT = 180.0
#: Seconds by which the clocks may differ: signatures are made with this machine's, everything else with the server's.
MOST_AHEAD = 60.0
#: Connections that one more daemon may use: its writer, its listener and its readers.
PER_DAEMON = 16
_PROBE_CHANNEL = "claude_relay_probe"
_PROBE_TIMEOUT, _LISTEN = 2.0, "LISTEN {}"


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """`ahead`: seconds that its clock is ahead of ours. `most`: the limit of connections for ordinary users."""

    ahead: float
    version: str
    number: int
    encoding: str
    standby: bool
    read_only: bool
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
    oldest_snapshot: float  # seconds
    grant: str | None  # the statement that gives the user the rights that it lacks on the tables
    schema: int


def inspect(url: str, where: str) -> ServerInfo:
    """Query the server. Raises the same errors as the store if that fails."""
    try:
        with connection.connect(url) as session:
            asked_at = time.time()
            [row] = session.execute(_QUERY).fetchall()
            ours = (asked_at + time.time()) / 2
            ahead, version, number, encoding, standby, read_only, fsync, pages, vacuum, commits, *rest = row
            taken, most, may_create, size, database, user, encrypted, public, snapshot = rest
            grant = schema.missing_grant(session)
            return ServerInfo(
                ahead=ahead - ours, version=version, number=number, encoding=encoding, standby=standby,
                read_only=read_only, fsync=fsync, full_page_writes=pages, autovacuum=vacuum,
                synchronous_commit=commits, connections=taken, most=most, may_create=may_create, size=size,
                database=database, user=user, encrypted=encrypted, public=public, oldest_snapshot=snapshot,
                grant=grant, schema=0 if grant else schema.schema(session),
            )  # fmt: skip
    except psycopg.Error as exc:
        raise translate(exc, where) from exc


def check_start(url: str, where: str) -> None:
    """Raise the error with which a daemon would end, or for which it would wait; changes nothing."""
    try:
        with connection.connect(url) as session:
            schema.check_start(session, where)
    except psycopg.Error as exc:
        raise (refused_login(exc, where) or translate(exc, where)) from exc


def refusal(url: str) -> str | None:
    """The reason why a connection is refused or fails; None if it succeeds."""
    try:
        connection.connect(url).close()
    except psycopg.Error as exc:
        return server_message(exc)

    return None


def receives_notifications(url: str) -> bool:
    """Whether NOTIFY reaches a session that listens; not through a pooler in transaction mode. Raises no error."""
    try:
        with connection.connect(url) as listener, connection.connect(url) as sender:
            listener.execute(_LISTEN.format(_PROBE_CHANNEL))
            sender.execute(f"NOTIFY {_PROBE_CHANNEL}")
            return any(True for _ in listener.notifies(timeout=_PROBE_TIMEOUT, stop_after=1))
    except psycopg.Error:
        return True  # unknown: the fault of the connection is reported where it is used


def warnings(info: ServerInfo) -> Sequence[str]:
    """A sentence for each fault of the server that a daemon can start with, with its cure."""
    sentences = []
    if off := [name for name in ("fsync", "full_page_writes") if not getattr(info, name)]:
        sentences.append(f"{' and '.join(off)} off on the server: a power cut loses accepted jobs. Set it to on there.")
    if info.standby:
        sentences.append("the server is a standby and accepts no writes: name the primary in RELAY_STORE.")
    elif info.read_only:
        reset = reset_read_only(info.database)
        sentences.append(f"the database is set to read only: {reset} (or the same of the role or the server).")
    if (left := info.most - info.connections) < PER_DAEMON:
        sentences.append(
            f"{left} of {info.most} connections are left, a daemon may take {PER_DAEMON}: raise that limit."
        )
    if abs(info.ahead) > MOST_AHEAD:
        side = "ahead of" if info.ahead > 0 else "behind"
        sentences.append(
            f"the server's clock is {abs(info.ahead):.0f} s {side} this machine's: start times and deadlines follow "
            f"the server's, signatures this one's. Set both right (timedatectl set-ntp true)."
        )
    if info.oldest_snapshot > OLD_SNAPSHOT:
        minutes = int(info.oldest_snapshot // 60)
        sentences.append(f"a transaction there has been open for {minutes} minutes, which slows the relay: end it.")

    return sentences
