"""Translation of the server's errors. No message contains the URL with its password."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from ...errors import RelayError, StoreRefused, StoreUnavailable
from .. import migrate

#: Refused logins that no waiting ends: a pattern of the server's message, and the fix.
_REFUSED_LOGINS = (
    (
        r"password authentication failed|no password supplied",
        r"Give the role that password on the server (\password in psql), or put the right one into RELAY_STORE.",
    ),
    (
        r"no pg_hba.conf entry|[Pp]eer authentication failed",
        "Add a line for it to pg_hba.conf on the server, and: systemctl reload postgresql.",
    ),
    (r'role ".*" does not exist', "Create it on the server (createuser), or name another in RELAY_STORE."),
    (
        r'database ".*" does not exist',
        "Create it on the server: createdb --owner ROLE --encoding UTF8 --template template0 NAME.",
    ),
)


def refused_login(exc: psycopg.Error, where: str) -> StoreRefused | None:
    """The refusal of a first connection for a reason that lasts, with its fix; None for others."""
    message = server_message(exc)
    for pattern, fix in _REFUSED_LOGINS:
        if re.search(pattern, message):
            return StoreRefused(f"the store {where} refuses the connection ({message}). {fix}")

    return None


def reset_read_only(database: str = "…") -> str:
    """The statement after which a database that was set to read only accepts writes again."""
    return f'ALTER DATABASE "{database}" RESET default_transaction_read_only'


def read_only(where: str) -> StoreUnavailable:
    """The error of a server that accepts no writes."""
    return StoreUnavailable(
        f"the store {where} accepts no writes now: it is a standby, or was set to read only. Name the primary in "
        f"RELAY_STORE, or: {reset_read_only()}",
        retry_after=10,
    )


def translate(exc: BaseException, where: str) -> BaseException:
    """The error for the caller; errors that are not the store's are returned unchanged."""
    if isinstance(exc, RelayError) or not isinstance(exc, psycopg.Error):
        return exc
    if isinstance(exc, errors.LockNotAvailable):
        return StoreUnavailable("the store is locked by another process; try again", retry_after=5)
    if isinstance(exc, errors.DiskFull):
        return StoreUnavailable(
            "the disk of the store's server is full: make room there, nothing that was accepted is lost", retry_after=30
        )
    if isinstance(exc, errors.QueryCanceled):
        return StoreUnavailable("the store's server took too long; try again", retry_after=10)
    if isinstance(exc, errors.ReadOnlySqlTransaction):
        return read_only(where)
    if isinstance(exc, errors.InsufficientPrivilege):
        return StoreRefused(
            f"the store {where} may not be used by this user ({server_message(exc)}). Let the user own the database, "
            f"or: GRANT CREATE, USAGE ON SCHEMA public TO the user. Where the tables are another role's: name that "
            f"role in RELAY_STORE, or GRANT it TO the user."
        )
    if isinstance(exc, errors.DataCorrupted | errors.IndexCorrupted):
        return StoreRefused(f"the store {where} is corrupt ({server_message(exc)}). Check the server's log first.")
    if isinstance(exc, errors.UndefinedTable | errors.UndefinedColumn):
        return migrate.misfit("postgres", server_message(exc), where=where)
    if re.search("too many clients|connection slots|too many connections", str(exc)):
        return StoreUnavailable(
            f"the store {where} has no connection left ({server_message(exc)}): raise max_connections on the server, "
            f"or the limit of the role or the database",
            retry_after=5,
        )
    if isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
        return StoreUnavailable(f"the store {where} is out of reach ({server_message(exc)})", retry_after=5)

    return exc


def server_message(exc: BaseException) -> str:
    """The first line of the server's message, without its final stop."""
    lines = str(exc).strip().splitlines() or [type(exc).__name__]

    return lines[0].strip().rstrip(".:")
