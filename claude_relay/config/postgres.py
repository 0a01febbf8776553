"""
The address of a store in PostgreSQL: read as libpq reads it, shown without what opens it.

    postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full      one server, over the network
    postgresql://USER@/NAME?host=/run/postgresql                       this machine's, through its socket
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote

SCHEMES = ("postgresql", "postgres")

_PARTS = re.compile(r"(?P<net>[^/?]*)(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_ESCAPED = "a letter such as / ? # @ % in the password or the user is written %2F %3F %23 %40 %25"
_SSL = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PRIMARY = ("read-write", "primary")

#: What libpq takes behind the `?`; of what it would be told in vain (replication) not.
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
    """The address of which `rest` stands behind the scheme; a ValueError whose words do not quote it."""
    if not rest.isprintable() or re.search(r"\s", rest):
        raise ValueError("an address holds no spaces or control characters: in a password they are written %20")
    if "#" in rest or re.search(r"%(?![0-9A-Fa-f]{2})|%00", rest) or "\ufffd" in unquote(rest):
        raise ValueError(_ESCAPED)
    parts = _PARTS.fullmatch(rest)
    net, name = (parts["net"], parts["name"] or "") if parts else ("", "")
    user, at, hosts = net.rpartition("@")
    if "@" in user or "@" in name or "/" in name or (":" in net and not at and "@" in rest):
        raise ValueError(f"it is postgresql://USER:PASSWORD@HOST/NAME; {_ESCAPED}")
    for host in hosts.split(",") if hosts else ():
        _check_host(host)
    given = _parameters(rest.partition("?")[2])
    if not (name or given.get("dbname") or given.get("service")):
        raise ValueError("name the database: postgresql://USER@HOST/NAME")
    _check(given, several="," in hosts + given.get("host", ""))

    return f"postgresql://{rest}"


def shown(url: str) -> str:
    """For people: whose, where and which; no password, no parameters but where else the server is named."""
    net, name, given = _taken_apart(url)
    user, _, hosts = net.rpartition("@")
    who = given.get("user") or user.partition(":")[0]
    where = hosts or given.get("host") or given.get("hostaddr") or ""
    if given.get("port") and not re.search(r":\d+$", where):
        where = f"{where}:{given['port']}"
    where = unquote(where)
    named = name or given.get("dbname") or given.get("service") or ""
    if where.startswith("/"):
        return f"postgresql://{who}{'@' if who else ''}/{named}?host={where}"

    return f"postgresql://{who}{'@' if who else ''}{where}/{named}"


def names(url: str) -> tuple[str, str, str]:
    """Its user, its database and its host; empty what libpq is left to fill in."""
    net, name, given = _taken_apart(url)
    user, _, hosts = net.rpartition("@")
    who = given.get("user") or unquote(user.partition(":")[0])
    host = re.sub(r":\d+$", "", unquote(hosts)) or given.get("host") or given.get("hostaddr") or ""

    return who, unquote(name) or given.get("dbname") or "", host


def passwords(url: str) -> tuple[str, ...]:
    """Whatever in it must never be shown: as it is written, and as it is meant."""
    net, _, _ = _taken_apart(url)
    written = [net.rpartition("@")[0].partition(":")[2]]
    written += [part.partition("=")[2] for part in url.partition("?")[2].split("&") if part.startswith(_SECRET)]

    return tuple(dict.fromkeys(form for one in written if one for form in (one, unquote(one))))


def is_remote(url: str) -> bool:
    """Whether a network lies between: a server that is not named by its socket's folder, nor left to libpq."""
    net, _, given = _taken_apart(url)
    where = unquote(net.rpartition("@")[2] or given.get("host") or "")

    return bool(given.get("hostaddr")) or any(host and not host.startswith(("/", "@")) for host in where.split(","))


def _taken_apart(url: str) -> tuple[str, str, dict[str, str]]:
    parts = _PARTS.fullmatch(url.partition("://")[2])
    if parts is None:
        return "", "", {}

    return parts["net"], parts["name"] or "", _parameters(parts["query"] or "")


def _parameters(query: str) -> dict[str, str]:
    found = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not equals or "=" in value or key not in _PARAMETERS:
            known = "such as sslmode, sslrootcert, host, connect_timeout or target_session_attrs"
            raise ValueError(f"behind the ? stands what PostgreSQL does not know; it takes NAME=value, {known}")
        found[key] = unquote(value)

    return found


def _check_host(text: str) -> None:
    """A name, an address (that of IPv6 in brackets) or a socket's folder (%2Frun%2Fpostgresql); and a port."""
    host, colon, port = text, "", ""
    if not text.endswith("]"):
        before, colon, port = text.rpartition(":")
        host = before if colon else text
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and 1 <= int(port) <= 65535):
        raise ValueError(f"its port is no number from 1 to 65535; {_ESCAPED}")
    if unquote(host).startswith("/"):
        return
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            raise ValueError("what stands in [brackets] is an IPv6 address, such as [::1]") from None
    elif not _HOST.fullmatch(host):
        raise ValueError(f"its host is no name or address; {_ESCAPED}")


def _check(given: dict[str, str], *, several: bool) -> None:
    if given.get("sslmode", "require") not in _SSL:
        raise ValueError(f"sslmode is one of {', '.join(_SSL)}")
    if not all(re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) for port in given.get("port", "1").split(",")):
        raise ValueError("port is a number from 1 to 65535")
    if (attrs := given.get("target_session_attrs", "any" if several else "primary")) not in _PRIMARY:
        why = "of several servers the primary alone takes jobs" if attrs == "any" else "a standby takes no jobs"
        raise ValueError(f"{why}: write target_session_attrs=read-write")
