"""Checks of a store in PostgreSQL: the connection, durability, version, clock and connection limit of its server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...config import Settings
from ...errors import ConfigError, RelayError
from ...storage import migrate
from ...storage.sqlite import completion_reads
from .finding import Finding, failure, ok, warning
from .system import RESTART, System

if TYPE_CHECKING:
    from ...storage.postgres.server_info import ServerInfo

#: Clock difference for a warning, in seconds. Signatures are refused after a longer one, which is a failure.
_CLOCK_WARNING = 2.0
#: The oldest supported server version, as in `server_version_num`.
_MIN_VERSION = 130_000
#: Connections that one more daemon may use: its writer, its listener and its readers.
_PER_DAEMON = 16
_TEMPLATE = "--encoding UTF8 --template template0"

#: Connection errors: pattern, description and fix. {user}, {name} and {host} are those of the URL, {account} ours.
_REFUSALS = (
    (
        r"password authentication failed|no password supplied",
        "it refuses the password of {user}",
        "runuser -u postgres -- psql -c '\\password {user}' on the server, and the same one into RELAY_STORE",
    ),
    (
        r"[Pp]eer authentication failed",
        "it accepts {user} only from the account of that name, and this is {account}",
        "printf 'claude-relay %s {user}\\n' {user} {account} | tee -a /etc/postgresql/*/main/pg_ident.conf &&"
        " sed -i '1i local {name} {user} peer map=claude-relay' /etc/postgresql/*/main/pg_hba.conf &&"
        " systemctl reload postgresql",
    ),
    (
        r"no pg_hba.conf entry",
        "it refuses connections of {user} from here",
        "add 'host {name} {user} ADDRESS-OF-THIS-MACHINE/32 scram-sha-256' to pg_hba.conf on the server, then there:"
        " systemctl reload postgresql",
    ),
    (
        r'database ".*" does not exist',
        "it has no database {name}",
        f"runuser -u postgres -- createdb --owner {{user}} {_TEMPLATE} {{name}}, on the server",
    ),
    (r'role ".*" does not exist', "it has no role {user}", "runuser -u postgres -- createuser {user}, on the server"),
    (
        r"too many clients|connection slots|too many connections",
        "it has no connection left",
        "runuser -u postgres -- psql -c 'ALTER SYSTEM SET max_connections = 300', on the server, then there:"
        " systemctl restart postgresql",
    ),
    (
        r"[Cc]onnection refused|No such file or directory",
        "no server answers there",
        "systemctl start postgresql, on {host}; or fix the host and the port in RELAY_STORE",
    ),
    (
        r"translate host name|[Nn]ame or service not known|failed to resolve|No address associated|name resolution",
        "the name {host} cannot be resolved here",
        "getent hosts {host} shows what this machine resolves; fix the resolver, or RELAY_STORE",
    ),
    (
        r"timeout expired|[Nn]o route|unreachable|timed out",
        "nothing comes back from {host}",
        "ping {host}, and open its firewall for PostgreSQL's port",
    ),
    (
        r"starting up|shutting down|recovery",
        "it is just starting or stopping",
        "wait for it: journalctl -u 'postgresql*' -n 20, on {host}",
    ),
    (
        r"SSL|certificate",
        "its TLS does not meet what RELAY_STORE requires",
        "set ssl = on with a certificate on the server, or another sslmode in RELAY_STORE",
    ),
)


def check(settings: Settings, system: System) -> Iterator[Finding]:
    """Check the driver, the connection, then the server. After a failed `store` the store need not be opened."""
    yield from units(settings, system)
    yield from left_behind(settings, system)
    info = _inspect(settings, system)
    if isinstance(info, Finding):
        yield info
        return
    yield from server_faults(info, settings)
    yield from _notifications(settings)


def units(settings: Settings, system: System) -> Iterator[Finding]:
    """Check that the daemons may connect to the server, and that they use the same store as this command."""
    if not system.under_systemd:
        return
    credential = system.credentials / "RELAY_STORE"
    if system.has_credential("RELAY_STORE") and str(credential) not in settings.origin("RELAY_STORE"):
        detail = f"the daemons have RELAY_STORE from {credential}, and this command has another one: two stores"
        yield failure("server", detail, system.set_command(f"RELAY_STORE_FILE={credential}"))
    properties = system.run(
        ("systemctl", "show", "--property=PrivateNetwork,RestrictAddressFamilies", "claude-relay-api.service")
    )
    if settings.store_is_remote and properties is not None and "PrivateNetwork=yes" in properties:
        detail = "RELAY_STORE is reached over a network, and the API's unit has no network access"
        fix = "make install POSTGRES=tcp, in the checkout, then: systemctl restart claude-relay-api"
        yield failure("server", detail, fix)


def left_behind(settings: Settings, system: System) -> Iterator[Finding]:
    """Check for unfinished work in the file that was the store before the server: no worker processes it any more."""
    path = Path(settings.state_directory) / "relay.db"
    if count := completion_reads.unfinished(path):
        detail = f"{count} jobs and callbacks wait in {path}, the previous store, and no worker processes them"
        until = f"until RELAY_STORE={path} claude-relay status shows none"
        yield warning("store", detail, f"{system.set_command(f'RELAY_STORE=sqlite:///{path}')}  # {until}")


def _inspect(settings: Settings, system: System) -> ServerInfo | Finding:
    from ...wiring import check_store

    try:
        check_store(settings)
    except ConfigError as exc:
        return failure("store", str(exc).partition(": ")[0], _driver(settings, system))
    from ...storage.postgres.server_info import inspect

    try:
        return inspect(settings.store, settings.store_shown)
    except RelayError as exc:
        return _refused(str(exc), settings)


def _driver(settings: Settings, system: System) -> str:
    if system.under_systemd:
        return f"make install POSTGRES={'tcp' if settings.store_is_remote else 'socket'}, in the checkout"

    return "pip install 'claude-relay[postgres]', in the relay's own Python"


def _refused(error: str, settings: Settings) -> Finding:
    shown = settings.store_shown
    match = re.search(r"\((.*)\)", error, re.DOTALL)
    reason = match[1] if match else error
    for pattern, description, fix in _REFUSALS:
        if re.search(pattern, reason):
            names = settings.store_names()
            return failure("store", f"{shown}: {description.format(**names)} ({reason})", fix.format(**names))

    return failure("store", error, f"psql '{shown}' -c 'SELECT 1' shows what this machine sees of it")


def server_faults(info: ServerInfo, settings: Settings) -> Iterator[Finding]:
    """The faults of a server that answers; without a failure also a summary."""
    faults = [
        *_durability(info),
        *_database(info, settings),
        *_clock(info),
        *_connections(info),
        *_encryption(info),
        *_snapshots(info),
    ]
    yield from faults
    if not any(fault.result == "fail" for fault in faults):
        summary = f"PostgreSQL {info.version}, {info.connections} of {info.most} connections used,"
        yield ok("server", f"{summary} fsync and full_page_writes on, its clock {info.ahead:+.1f} s from here")


def _durability(info: ServerInfo) -> Iterator[Finding]:
    """Check that commits survive a power cut."""
    off = [name for name in ("fsync", "full_page_writes") if not getattr(info, name)]
    if info.synchronous_commit in ("off", "local"):
        off.append("synchronous_commit")
    if off:
        detail = (
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a power cut loses jobs that were accepted"
        )
        yield failure("server", detail, _alter(*(f"{name} = on" for name in off)))
    if not info.autovacuum:
        detail = "autovacuum is off: the store grows without limit, and gets slower"
        yield warning("server", detail, _alter("autovacuum = on"))


def _alter(*changes: str) -> str:
    """The command that changes settings of the server, as its superuser and without a restart."""
    commands = " ".join(f"-c 'ALTER SYSTEM SET {change}'" for change in changes)

    return f"runuser -u postgres -- psql {commands} -c 'SELECT pg_reload_conf()', on the server"


def _database(info: ServerInfo, settings: Settings) -> Iterator[Finding]:
    """Check that this version can use the database as its store."""
    shown, newest = settings.store_shown, migrate.latest("postgres")
    if info.number < _MIN_VERSION:
        detail = f"{shown} is PostgreSQL {info.version}: 13 or newer is needed"
        yield failure("store", detail, "apt-get install postgresql && pg_upgradecluster, on the server")
    elif info.standby:
        detail = f"{shown} is a standby: it accepts no writes"
        fix = "name the primary in RELAY_STORE (or both, with target_session_attrs=read-write); or pg_ctl promote"
        yield failure("store", detail, f"{fix}, on the server")
    elif info.read_only:
        from ...storage.postgres.errors import reset_read_only

        detail = f"{shown} is set to read only: it accepts no writes"
        where = "on the server; where the role or the server itself has that setting, there"
        yield failure("store", detail, f"runuser -u postgres -- psql -c '{reset_read_only(info.database)}', {where}")
    elif info.encoding != "UTF8":
        detail = f"{shown} has the encoding {info.encoding}, which does not cover all languages"
        create = f"runuser -u postgres -- createdb --owner {info.user} {_TEMPLATE} {info.database}_utf8"
        yield failure("store", detail, f"{create}, on the server, and name that one in RELAY_STORE")
    elif info.grant is not None:
        detail = f"{info.user} lacks rights on the tables in {shown}"
        psql = f"runuser -u postgres -- psql -d '{info.database}'"
        yield failure("store", detail, f"{psql} -c '{info.grant}', on the server")
    elif info.schema > newest:
        detail = f"{shown} has schema {info.schema}, this version supports up to {newest}"
        yield failure("store", detail, "make install, in a checkout of the newer version")
    elif info.schema == 0 and not info.may_create:
        detail = f"{info.user} may not create tables in {shown}"
        grant = f'ALTER DATABASE "{info.database}" OWNER TO "{info.user}"'
        yield failure("store", detail, f"runuser -u postgres -- psql -c '{grant}', on the server")


def _clock(info: ServerInfo) -> Iterator[Finding]:
    """Check the server's clock, which jobs use, against this machine's, which signatures use."""
    from ...storage.postgres.server_info import MOST_AHEAD

    difference = abs(info.ahead)
    if difference <= _CLOCK_WARNING:
        return
    detail = f"the server's clock is {difference:.0f} s {'ahead of' if info.ahead > 0 else 'behind'} this machine's"
    fix = "timedatectl set-ntp true, here and on the server (or: apt-get install systemd-timesyncd)"
    if difference > MOST_AHEAD:
        yield failure(
            "clock", f"{detail}: one of the two is wrong, and receivers refuse signatures with a wrong time", fix
        )
    else:
        yield warning("clock", detail, fix)


def _connections(info: ServerInfo) -> Iterator[Finding]:
    left = info.most - info.connections
    if left < _PER_DAEMON:
        detail = f"{left} of {info.most} connections are left; a daemon may take {_PER_DAEMON}"
        more = max(300, 2 * info.most)
        yield warning(
            "server", detail,
            f"runuser -u postgres -- psql -c 'ALTER SYSTEM SET max_connections = {more}', on the server, then there:"
            " systemctl restart postgresql",
        )  # fmt: skip


def _snapshots(info: ServerInfo) -> Iterator[Finding]:
    """Check for a transaction that was left open: replaced rows stay, and each look at the queue is slower."""
    from ...storage.postgres.server_info import OLD_SNAPSHOT

    if info.oldest_snapshot > OLD_SNAPSHOT:
        detail = f"a transaction on the server has been open for {int(info.oldest_snapshot // 60)} minutes"
        who = "SELECT pid, usename, application_name, xact_start FROM pg_stat_activity WHERE backend_xmin IS NOT NULL"
        yield warning(
            "server", f"{detail}: replaced rows stay, and the relay gets slower",
            f"psql -c '{who} ORDER BY xact_start', on the server, and end it: SELECT pg_terminate_backend(pid)",
        )  # fmt: skip


def _notifications(settings: Settings) -> Iterator[Finding]:
    from ...storage.postgres.server_info import receives_notifications

    if not receives_notifications(settings.store):
        yield warning(
            "server", "notifications do not arrive (a pooler in transaction mode?): jobs start with the next sweep",
            f"let the pooler pool sessions, or name the server itself in RELAY_STORE; then: {RESTART}",
        )  # fmt: skip


def _encryption(info: ServerInfo) -> Iterator[Finding]:
    if info.public and not info.encrypted:
        detail = "the connection to the server is public and not encrypted: prompts and answers are sent in plain text"
        yield warning("server", detail, f"add sslmode=verify-full to RELAY_STORE; then: {RESTART}")
