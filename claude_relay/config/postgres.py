"""
The URL of a store in PostgreSQL: parsed as libpq does, and shown without its secrets.

    postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full      one server, over the network
    postgresql://USER@/NAME?host=/run/postgresql                       this machine's, through its Unix socket
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote

SCHEMES = ("postgresql", "postgres")

_PARTS = r"(?P<net>[^/?]*)(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?"
_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?"
_ESCAPED = "write / ? # @ % in the user or the password as %2F %3F %23 %40 %25"
_SSL = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PRIMARY = ("read-write", "primary")

#: libpq's connection parameters, without those that are useless here (replication).
_PARAMETERS = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssdelegation
    gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
    load_balance_hosts max_protocol_version min_protocol_version options passfile password port require_auth requirepeer
    service ssl ssl_max_protocol_version ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir
    sslkey sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout user
    """.split()
)
_SECRET = ("password", "sslpassword")


def read(rest: str) -> str:
    """The URL whose part after the scheme is `rest`, or a ValueError that does not quote it."""
    if not rest.isprintable() or re.search(r"\s", rest):
        raise ValueError("a URL cannot contain spaces or control characters: write a space in a password as %20")
    if "#" in rest or re.search(r"%(?![0-9A-Fa-f]{2})|%00", rest) or "\ufffd" in unquote(rest):
        raise ValueError(_ESCAPED)
    parts = re.fullmatch(_PARTS, rest)
    net, name = (parts["net"], parts["name"] or "") if parts else ("", "")
    user, at, hosts = net.rpartition("@")
    if "@" in user or "@" in name or "/" in name or (":" in net and not at and "@" in rest):
        raise ValueError(f"write postgresql://USER:PASSWORD@HOST/NAME; {_ESCAPED}")
    for host in hosts.split(",") if hosts else ():
        _check_host(host)
    parameters = _parameters(rest.partition("?")[2])
    if not (name or parameters.get("dbname") or parameters.get("service")):
        raise ValueError("name the database: postgresql://USER@HOST/NAME")
    _check(parameters, several="," in hosts + parameters.get("host", ""))

    return f"postgresql://{rest}"


def shown(url: str) -> str:
    """User, host and database for display: no password, and no parameters but those that name the server."""
    net, name, parameters = _split(url)
    user, _, hosts = net.rpartition("@")
    who = parameters.get("user") or user.partition(":")[0]
    where = hosts or parameters.get("host") or parameters.get("hostaddr") or ""
    if parameters.get("port") and not re.search(r":\d+$", where):
        where = f"{where}:{parameters['port']}"
    where = unquote(where)
    named = name or parameters.get("dbname") or parameters.get("service") or ""
    if where.startswith("/"):
        return f"postgresql://{who}{'@' if who else ''}/{named}?host={where}"

    return f"postgresql://{who}{'@' if who else ''}{where}/{named}"


def names(url: str) -> tuple[str, str, str]:
    """User, database and host; empty where libpq fills in the default."""
    net, name, parameters = _split(url)
    user, _, hosts = net.rpartition("@")
    who = parameters.get("user") or unquote(user.partition(":")[0])
    host = re.sub(r":\d+$", "", unquote(hosts)) or parameters.get("host") or parameters.get("hostaddr") or ""

    return who, unquote(name) or parameters.get("dbname") or "", host


def passwords(url: str) -> tuple[str, ...]:
    """The passwords in the URL, both as written and decoded."""
    net, _, _ = _split(url)
    written = [net.rpartition("@")[0].partition(":")[2]]
    written += [part.partition("=")[2] for part in url.partition("?")[2].split("&") if part.startswith(_SECRET)]

    return tuple(dict.fromkeys(form for text in written if text for form in (text, unquote(text))))


def is_remote(url: str) -> bool:
    """Whether the server is reached over TCP, rather than through a Unix socket or libpq's default."""
    net, _, parameters = _split(url)
    hosts = unquote(net.rpartition("@")[2] or parameters.get("host") or "").split(",")

    return bool(parameters.get("hostaddr")) or any(host and not host.startswith(("/", "@")) for host in hosts)


def _split(url: str) -> tuple[str, str, dict[str, str]]:
    parts = re.fullmatch(_PARTS, url.partition("://")[2])
    if parts is None:
        return "", "", {}

    return parts["net"], parts["name"] or "", _parameters(parts["query"] or "")


def _parameters(query: str) -> dict[str, str]:
    parameters = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not equals or "=" in value or key not in _PARAMETERS:
            examples = "such as sslmode, sslrootcert, host, connect_timeout or target_session_attrs"
            raise ValueError(f'unknown connection parameter after "?"; write NAME=value, {examples}')
        parameters[key] = unquote(value)

    return parameters


def _check_host(text: str) -> None:
    """Check a host name, IP address (IPv6 in brackets) or socket folder (%2Frun%2Fpostgresql), and its port."""
    host, colon, port = text, "", ""
    if not text.endswith("]"):
        name, colon, port = text.rpartition(":")
        host = name if colon else text
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and 1 <= int(port) <= 65535):
        raise ValueError(f"its port is not a number from 1 to 65535; {_ESCAPED}")
    if unquote(host).startswith("/"):
        return
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            raise ValueError("write an IPv6 address in [brackets], such as [::1]") from None
    elif not re.fullmatch(_HOST, host):
        raise ValueError(f"its host is not a name or an IP address; {_ESCAPED}")


def _check(parameters: dict[str, str], *, several: bool) -> None:
    if parameters.get("sslmode", "require") not in _SSL:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL)}")
    if not all(re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) for port in parameters.get("port", "1").split(",")):
        raise ValueError("port must be a number from 1 to 65535")
    if (attrs := parameters.get("target_session_attrs", "any" if several else "primary")) not in _PRIMARY:
        why = "among several servers only the primary accepts jobs" if attrs == "any" else "a standby accepts no jobs"
        raise ValueError(f"{why}: write target_session_attrs=read-write")
