"""Reading the URL of a webhook: once and strictly, for two readers that disagree are how guards are fooled."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import idna

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST = 2048

_NETLOC = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidUrl(ValueError):
    """The URL cannot be a webhook's. The message goes on from the field's name: `must start with …`."""


@dataclass(frozen=True, kw_only=True)
class WebhookUrl:
    """
    Whom a URL calls.

    `host` is lower case, in ASCII, without brackets and the root's dot; `url` is the same URL with the host so
    written, so that nobody behind this point has to read it again in a way of his own.
    """

    url: str = field(repr=False)
    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """The address, where the host is one and no name."""
        return parse_ip(self.host)


def parse_url(url: str) -> WebhookUrl:
    """Whom `url` calls; raises `Unreadable`."""
    if len(url) > LONGEST:
        raise InvalidUrl(f"must not be longer than {LONGEST} characters; this has {len(url)}")
    if not url.isprintable() or " " in url or "\\" in url:
        raise InvalidUrl("must not contain spaces, line breaks, control characters or backslashes: percent-encode them")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidUrl("is not a URL: its host cannot be read") from None

    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidUrl("must be a whole URL: https:// or http://, then a host")
    if "@" in parts.netloc:
        raise InvalidUrl("must not carry a user name or password: put what the receiver asks for in webhookHeaders")
    if "#" in url:
        raise InvalidUrl("must not contain a #: what follows it is never sent")

    host, port = _host_and_port(parts)
    shown = f"[{host}]" if ":" in host else host
    usual = port == (443 if parts.scheme == "https" else 80)
    plain = parts._replace(netloc=shown if usual else f"{shown}:{port}")

    return WebhookUrl(url=plain.geturl(), host=host, port=port)


def parse_host_name(text: str) -> str:
    """A host name as it is compared: lower case, in ASCII (`bjørn.no` is `xn--bjrn-hra.no`); raises `Unreadable`."""
    name = text
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            raise InvalidUrl("has a host that is no valid international name") from None
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise InvalidUrl("has a host that is neither a name nor an address")
    # 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are 127.0.0.1 to some readers and something else to others.
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and parse_ip(name) is None:
        raise InvalidUrl("writes an address in an unusual way: write it as four decimal numbers, as in 192.0.2.1")

    return name


def parse_ip(text: str) -> Address | None:
    """The address that `text` plainly is."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    match = _NETLOC.fullmatch(parts.netloc)
    if match is None:
        raise InvalidUrl("has a host that is neither a name nor an address")

    six, name, port = match.groups()
    return (parse_host_name(name) if six is None else _ipv6(six)), _port(port, parts.scheme)


def _ipv6(text: str) -> str:
    if "%" in text:
        raise InvalidUrl("must not name a network interface (what follows the % in the address)")
    address = parse_ip(text)
    if not isinstance(address, ipaddress.IPv6Address):
        raise InvalidUrl("has brackets around something that is not an IPv6 address")

    return str(address)


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return 443 if scheme == "https" else 80
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise InvalidUrl("must have a port from 1 to 65535, or none")

    return int(text)
