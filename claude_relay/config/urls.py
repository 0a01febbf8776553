"""Parsers of settings that hold URLs, origins, hosts or networks, and the location of the store."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from . import postgres
from .parsers import comma_list

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = rf"(?ai){_LABEL}(\.{_LABEL})*\.?"

#: The path of the API, which many gateways show as part of their URL.
API_PATH = r"/v1(/messages(/[a-z_/]*)?)?$"

SYSTEM_STORE = "sqlite:////var/lib/claude-relay/relay.db"


def _split(text: str) -> SplitResult:
    """The parts of a URL, or a ValueError that does not quote it."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("it is not a URL; its brackets or its port are wrong") from None
    if not text.isprintable() or re.search(r"\s", text):
        raise ValueError("a URL cannot contain spaces or control characters")

    return parts


def url(text: str) -> str:
    """An http or https URL without a trailing slash."""
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write a URL that begins with http:// or https://")
    if parts.query or parts.fragment:
        raise ValueError("write the URL without ? and #")

    return text.rstrip("/")


def public_url(text: str) -> str:
    """The same without a user and a password: callbacks show it."""
    if _split(text).username is not None:
        raise ValueError("write the URL without a user and a password: callbacks show it")

    return url(text)


def upstream(text: str) -> str:
    """The URL of Anthropic's API, without the path that every request adds itself."""
    return re.sub(API_PATH, "", url(text)).rstrip("/")


def webhook_url(text: str) -> str:
    """An http or https URL with its query."""
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write a URL that begins with http:// or https://")

    return text


def origins(text: str) -> tuple[str, ...]:
    """Web origins (scheme, host and port), or `*` alone."""
    listed = tuple(word.rstrip("/") for word in comma_list(text))
    if "*" in listed:
        if len(listed) > 1:
            raise ValueError("write * alone, or the origins without it")
        return listed
    for origin in listed:
        parts = _split(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.fragment:
            raise ValueError("write origins such as https://hook.us1.make.com (scheme and host, no path), or *")

    return listed


def host(text: str) -> str:
    """An IP address or host name to listen on."""
    plain = text.strip("[]")
    if not (_is_ip(plain) or re.fullmatch(_HOST, plain)):
        raise ValueError("write a host name or an IP address, such as 127.0.0.1 or 0.0.0.0")

    return plain


def proxy(text: str) -> str:
    """The IP addresses and networks whose X-Forwarded headers are trusted, or `*` for every client."""
    words = comma_list(text)
    for word in words:
        if word == "*" and len(words) == 1:
            continue
        try:
            network = ipaddress.ip_network(word)
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            raise ValueError(
                "write the proxy's IP address, or its network such as 172.16.0.0/12 (the first address and the prefix "
                "length), or * if only the proxy can reach this port"
            )

    return ",".join(words)


def private(text: str) -> tuple[str, ...]:
    """Private hosts, host:port pairs and networks that webhooks may reach."""
    return tuple(dict.fromkeys(_private_entry(word.lower()) for word in comma_list(text)))


def _private_entry(word: str) -> str:
    if word in ("*", "all", "any") or word.endswith("/0"):
        raise ValueError(
            "everything cannot be allowed; list the hosts or networks, such as n8n.internal or 10.1.0.0/16"
        )
    if "://" in word:
        raise ValueError("write hosts, not URLs: localhost:9000 rather than http://localhost:9000/")
    if "/" in word:
        try:
            return str(ipaddress.ip_network(word))
        except ValueError:
            raise ValueError("write a network as its first address and prefix length, such as 10.1.0.0/16") from None
    if _is_ip(word):
        return str(ipaddress.ip_address(word))

    parts = _split(f"//{word}")
    name = parts.hostname or ""
    if parts.path or "@" in word or not (_is_ip(name) or re.fullmatch(_HOST, name)):
        raise ValueError("write comma-separated hosts, host:port or networks, such as n8n.internal,10.1.0.0/16")

    return word


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False

    return True


def store(text: str) -> str:
    """
    The store as one absolute URL.

    As in SQLAlchemy, three slashes begin a relative path and four an absolute one; a bare path is SQLite too.
    """
    scheme, colon, rest = text.partition("://")
    if not colon:
        if re.match(r"[a-z0-9+]+:|(host|hostaddr|port|user|password|dbname) *=", text):
            raise ValueError("write a path, sqlite:///PATH or postgresql://USER@HOST/NAME")
        return _sqlite(text)
    if scheme == "sqlite":
        if not rest.startswith("/") or len(rest) < 2:
            raise ValueError("write sqlite:////var/lib/… for an absolute path, sqlite:///./… for a relative one")
        return _sqlite(rest[1:])
    if scheme in postgres.SCHEMES:
        return postgres.read(rest)
    if scheme.partition("+")[0] in postgres.SCHEMES:
        raise ValueError("write postgresql:// without a driver name")

    raise ValueError("jobs are stored in SQLite or PostgreSQL: write sqlite:///PATH or postgresql://USER@HOST/NAME")


def _sqlite(path: str) -> str:
    if not path.isprintable() or path.endswith("/") or path == ":memory:" or "?" in path:
        raise ValueError("name a permanent file, such as sqlite:////var/lib/claude-relay/relay.db")

    return f"sqlite:///{Path(path).expanduser().absolute()}"


def store_path(url: str) -> Path | None:
    """The file of an SQLite store; None for a server."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def store_passwords(url: str) -> tuple[str, ...]:
    """The passwords in a store's URL; empty for a file or a malformed URL."""
    try:
        return postgres.passwords(store(url)) if "://" in url else ()
    except ValueError:
        return ()


def shown_store(url: str) -> str:
    """The store for display: the file, or the server's URL without a password."""
    return postgres.shown(url) if store_path(url) is None else url.removeprefix("sqlite:///")


def _exists(path: Path) -> bool:
    """Whether the path exists, as far as this user can see."""
    try:
        return path.exists()
    except OSError:
        return False


def default_store(package: Path, here: Path, environ: Mapping[str, str]) -> str:
    """
    The default store: `data/` of the checkout that contains the working directory, otherwise the machine's store.

    The working directory decides, as it does for `.env`: a service that runs from a checkout in /opt, started
    elsewhere, and the operator's shell must not see two stores. An ordinary user who cannot write to the machine's
    folder has a store below the home directory. A service has none there: the fault of its folder is reported.
    """
    checkout = package.parent
    if _exists(checkout / ".git") and (here == checkout or checkout in here.parents):
        return f"sqlite:///{checkout / 'data' / 'relay.db'}"
    system = Path(SYSTEM_STORE.removeprefix("sqlite:///")).parent
    is_service = environ.get("STATE_DIRECTORY") or environ.get("RELAY_ENV") == "production"
    writable = os.access(system if _exists(system) else system.parent, os.W_OK)
    if is_service or writable or (own := state_home(environ)) is None:
        return SYSTEM_STORE

    return f"sqlite:///{own / 'relay.db'}"


def state_home(environ: Mapping[str, str]) -> Path | None:
    """The state directory of an ordinary user (XDG); None without a home directory that can be written."""
    home = environ.get("HOME", "")
    if base := environ.get("XDG_STATE_HOME", ""):
        return Path(base) / "claude-relay" if Path(base).is_absolute() else None

    return Path(home) / ".local" / "state" / "claude-relay" if home and os.access(home, os.W_OK) else None
