"""A store in PostgreSQL: whether its server is reached, keeps what it says it keeps, and has room."""

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
from .system import AGAIN, System

if TYPE_CHECKING:
    from ...storage.postgres.server_info import ServerInfo

#: A clock that is off by more is worth a word, and by still more signatures are refused. In seconds.
_OFF, _FAR_OFF = 2.0, 60.0
#: As old as a server may be.
_OLDEST = 130_000
#: What one more daemon takes: its writer, its listener and those that look.
_A_DAEMON = 16
_TEMPLATE = "--encoding UTF8 --template template0"

#: What a server or the way to it says: the check's words, and the mend. {user}, {name} and {host} are the address's.
_REFUSALS = (
    (
        r"password authentication failed|no password supplied",
        "it refuses the password of {user}",
        "runuser -u postgres -- psql -c '\\password {user}' on the server, and the same one into RELAY_STORE",
    ),
    (
        r"[Pp]eer authentication failed",
        "it takes {user} from the account of that name alone, and this is {account}",
        "printf 'claude-relay %s {user}\\n' {user} {account} | tee -a /etc/postgresql/*/main/pg_ident.conf &&"
        " sed -i '1i local {name} {user} peer map=claude-relay' /etc/postgresql/*/main/pg_hba.conf &&"
        " systemctl reload postgresql",
    ),
    (
        r"no pg_hba.conf entry",
        "it does not let {user} in from here",
        "add 'host {name} {user} ADDRESS-OF-THIS-MACHINE/32 scram-sha-256' to pg_hba.conf on the server, then there:"
        " systemctl reload postgresql",
    ),
    (
        r'database ".*" does not exist',
        "it has no database {name}",
        f"runuser -u postgres -- createdb --owner {{user}} {_TEMPLATE} {{name}}, on the server",
    ),
    (r'role ".*" does not exist', "it knows no {user}", "runuser -u postgres -- createuser {user}, on the server"),
    (
        r"too many clients|connection slots|too many connections",
        "it has no connection left",
        "runuser -u postgres -- psql -c 'ALTER SYSTEM SET max_connections = 300', on the server, then there:"
        " systemctl restart postgresql",
    ),
    (
        r"[Cc]onnection refused|No such file or directory",
        "no server answers there",
        "systemctl start postgresql, on {host}; or mend the host and the port in RELAY_STORE",
    ),
    (
        r"translate host name|[Nn]ame or service not known|failed to resolve|No address associated|name resolution",
        "the name {host} is not known here",
        "getent hosts {host} says what this machine knows; mend the resolver, or RELAY_STORE",
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
        "its TLS is not what RELAY_STORE asks for",
        "set ssl = on with a certificate on the server, or another sslmode in RELAY_STORE",
    ),
)


def check(settings: Settings, machine: System) -> Iterator[Finding]:
    """The driver, the way there, then the server itself; whoever is shown a `fail` of `store` need not open it."""
    yield from units(settings, machine)
    yield from left_behind(settings, machine)
    facts = _facts(settings, machine)
    if isinstance(facts, Finding):
        yield facts
        return
    yield from judge(facts, settings, machine)


def units(settings: Settings, machine: System) -> Iterator[Finding]:
    """Whether the daemons are let to it, and whether they look where this command looks."""
    if not machine.under_systemd:
        return
    credential = machine.credentials / "RELAY_STORE"
    if machine.has_credential("RELAY_STORE") and str(credential) not in settings.origin("RELAY_STORE"):
        found = f"the daemons have RELAY_STORE from {credential}, and this command from elsewhere: two stores"
        yield failure("server", found, machine.put(f"RELAY_STORE_FILE={credential}"))
    told = machine.run(
        ("systemctl", "show", "--property=PrivateNetwork,RestrictAddressFamilies", "claude-relay-api.service")
    )
    if settings.store_is_remote and told is not None and "PrivateNetwork=yes" in told:
        found = "RELAY_STORE is reached over a network, and the API's unit has none"
        mend = "make install POSTGRES=tcp, in the checkout, then: systemctl restart claude-relay-api"
        yield failure("server", found, mend)


def left_behind(settings: Settings, machine: System) -> Iterator[Finding]:
    """What was accepted into a file, before a server became the store: nobody works on it any more."""
    path = Path(settings.state_directory) / "relay.db"
    if count := completion_reads.unfinished(path):
        found = f"{count} jobs and callbacks wait in {path}, the store before this one, and nobody brings them home"
        until = f"until RELAY_STORE={path} claude-relay status shows none"
        yield warning("store", found, f"{machine.put(f'RELAY_STORE=sqlite:///{path}')}, {until}")


def _facts(settings: Settings, machine: System) -> ServerInfo | Finding:
    from ...wiring import check_store

    try:
        check_store(settings)
    except ConfigError as exc:
        return failure("store", str(exc).partition(": ")[0], _driver(settings, machine))
    from ...storage.postgres.server_info import inspect

    try:
        return inspect(settings.store, settings.store_shown)
    except RelayError as exc:
        return _refused(str(exc), settings)


def _driver(settings: Settings, machine: System) -> str:
    if machine.under_systemd:
        return f"make install POSTGRES={'tcp' if settings.store_is_remote else 'socket'}, in the checkout"

    return "pip install 'claude-relay[postgres]', in the relay's own Python"


def _refused(said: str, settings: Settings) -> Finding:
    where = settings.store_shown
    told = re.search(r"\((.*)\)", said, re.DOTALL)
    words = told[1] if told else said
    for pattern, found, mend in _REFUSALS:
        if re.search(pattern, words):
            names = settings.store_names()
            return failure("store", f"{where}: {found.format(**names)} ({words})", mend.format(**names))

    return failure("store", said, f"psql '{where}' -c 'SELECT 1' shows what this machine sees of it")


def judge(facts: ServerInfo, settings: Settings, machine: System) -> Iterator[Finding]:
    """What is wrong with a server that answers."""
    faults = [*_durable(facts), *_kept(facts, settings), *_clock(facts, machine), *_room(facts), *_way(facts)]
    yield from faults
    if not any(one.result == "fail" for one in faults):
        told = f"PostgreSQL {facts.version}, {facts.connections} of {facts.most} connections taken,"
        yield ok("server", f"{told} fsync and full_page_writes on, its clock {facts.ahead:+.1f} s from here")


def _durable(facts: ServerInfo) -> Iterator[Finding]:
    """Whether what it has committed is there after a power cut."""
    off = [name for name in ("fsync", "full_page_writes") if not getattr(facts, name)]
    if facts.synchronous_commit in ("off", "local"):
        off.append("synchronous_commit")
    if off:
        found = f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a power cut loses jobs that were accepted"
        yield failure("server", found, _alter(*(f"{name} = on" for name in off)))
    if not facts.autovacuum:
        found = "autovacuum is off: the store grows for ever, and gets slower"
        yield warning("server", found, _alter("autovacuum = on"))


def _alter(*changes: str) -> str:
    """By somebody who may; the server takes it without a restart."""
    commands = " ".join(f"-c 'ALTER SYSTEM SET {change}'" for change in (*changes,))

    return f"runuser -u postgres -- psql {commands} -c 'SELECT pg_reload_conf()', on the server"


def _kept(facts: ServerInfo, settings: Settings) -> Iterator[Finding]:
    """Whether this version can keep jobs in that database."""
    where, newest = settings.store_shown, migrate.latest("postgres")
    if facts.number < _OLDEST:
        found = f"{where} is PostgreSQL {facts.version}: 13 or newer is needed"
        yield failure("store", found, "apt-get install postgresql && pg_upgradecluster, on the server")
    elif facts.standby:
        found = f"{where} is a standby: it takes no jobs"
        mend = "name the primary in RELAY_STORE (or both, with target_session_attrs=read-write); or pg_ctl promote"
        yield failure("store", found, f"{mend}, on the server")
    elif facts.encoding != "UTF8":
        found = f"{where} keeps its text as {facts.encoding}, which does not hold every language"
        fresh = f"runuser -u postgres -- createdb --owner {facts.user} {_TEMPLATE} {facts.database}_utf8"
        yield failure("store", found, f"{fresh}, on the server, and name that one in RELAY_STORE")
    elif facts.schema > newest:
        found = f"{where} has schema {facts.schema}, this version knows up to {newest}"
        yield failure("store", found, "make install, in a checkout of the newer version")
    elif facts.schema == 0 and not facts.may_create:
        found = f"{facts.user} may make no tables in {where}"
        grant = f'ALTER DATABASE "{facts.database}" OWNER TO "{facts.user}"'
        yield failure("store", found, f"runuser -u postgres -- psql -c '{grant}', on the server")


def _clock(facts: ServerInfo, machine: System) -> Iterator[Finding]:
    """Jobs go by the server's, signatures by that of the machine that sends them."""
    off = abs(facts.ahead)
    if off <= _OFF:
        return
    found = f"the server's clock is {off:.0f} s {'ahead of' if facts.ahead > 0 else 'behind'} this machine's"
    mend = "timedatectl set-ntp true, here and on the server (or: apt-get install systemd-timesyncd)"
    if off > _FAR_OFF:
        yield failure(
            "clock", f"{found}: one of the two is wrong, and receivers refuse signatures of a wrong time", mend
        )
    else:
        yield warning("clock", found, mend)


def _room(facts: ServerInfo) -> Iterator[Finding]:
    left = facts.most - facts.connections
    if left < _A_DAEMON:
        found = f"{left} of {facts.most} connections are left; a daemon may take {_A_DAEMON}"
        more = max(300, 2 * facts.most)
        yield warning(
            "server", found,
            f"runuser -u postgres -- psql -c 'ALTER SYSTEM SET max_connections = {more}', on the server, then there:"
            " systemctl restart postgresql",
        )  # fmt: skip


def _way(facts: ServerInfo) -> Iterator[Finding]:
    if facts.public and not facts.encrypted:
        found = "the way to the server is public and not encrypted: prompts and answers travel in the open"
        yield warning("server", found, f"add sslmode=verify-full to RELAY_STORE; then: {AGAIN}")
