"""Strict parser for webhook URLs: the only one, because two parsers that disagree let a URL past the SSRF guard."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import field
from urllib.parse import SplitResult, urlsplit

import idna

from ..core.lazy_dataclass import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_LENGTH = 2048

_NETLOC = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_NO_HOST = "names no host: it should look like https://hook.eu1.make.com/…"
_BAD_HOST = "has a host that is neither a host name nor an IP address: check for an extra dot, dash or other character"


class InvalidUrl(ValueError):
    """The URL cannot be a webhook's. The message continues the field's name: `must begin with …`."""


@dataclass(frozen=True, kw_only=True)
class WebhookUrl:
    """
    A parsed URL with the host and port that it leads to.

    `host` is lower case, in ASCII, without brackets and the root's dot; `url` is the same URL with the host in that
    form, so that the URL is parsed exactly once.
    """

    url: str = field(repr=False)
    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """The IP address, if the host is one and not a name."""
        return parse_ip(self.host)


def url_problem(url: str) -> str | None:
    """Why `url` is not a valid webhook URL, or None. Whether it may be called is `ssrf_guard.literal_problem`'s."""
    try:
        parse_url(url)
    except InvalidUrl as exc:
        return str(exc)

    return None


@functools.lru_cache(maxsize=1_024)
def parse_url(url: str) -> WebhookUrl:
    """Parse `url`; raises `InvalidUrl`. The jobs of a scenario name the same few URLs."""
    if len(url) > MAX_LENGTH:
        raise InvalidUrl(f"is too long for a URL: at most {MAX_LENGTH:,} characters, this has {len(url):,}")
    if "\\" in url:
        raise InvalidUrl("must not contain a backslash: percent-encode it")
    if not url.isprintable() or " " in url:
        raise InvalidUrl(
            "must be a URL without spaces, line breaks or invisible characters, also at its end: percent-encode them"
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidUrl("cannot be read as a URL: check the part after https:// (brackets, port)") from None

    if parts.scheme not in ("http", "https") or not url.lower().startswith(f"{parts.scheme}://"):
        raise InvalidUrl("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise InvalidUrl("must not carry a user name or password: put a key into webhookHeaders instead")
    if "#" in url:
        raise InvalidUrl("must not contain a #: the part after it is never sent")

    host, port = _host_and_port(parts)
    shown = f"[{host}]" if ":" in host else host
    is_default = port == (443 if parts.scheme == "https" else 80)
    normalized = parts._replace(netloc=shown if is_default else f"{shown}:{port}")

    return WebhookUrl(url=normalized.geturl(), host=host, port=port)


def parse_host_name(text: str) -> str:
    """
    Convert a host name to the form used for comparison: lower case, ASCII (`bjørn.no` is `xn--bjrn-hra.no`).

    Raises `InvalidUrl`.
    """
    name = text
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            raise InvalidUrl("has a host that is not a valid international name") from None
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise InvalidUrl(_BAD_HOST)
    # 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are 127.0.0.1 to some parsers and something else to others.
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and parse_ip(name) is None:
        raise InvalidUrl("writes an IP address in an unusual way: use four decimal numbers, as in 192.0.2.1")

    return name


@functools.lru_cache(maxsize=1_024)
def parse_ip(text: str) -> Address | None:
    """The IP address that `text` is in its standard notation, or None."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    match = _NETLOC.fullmatch(parts.netloc)
    if match is None:
        raise InvalidUrl(_BAD_HOST)

    ipv6, name, port = match.groups()
    if not ipv6 and not name:
        raise InvalidUrl(_NO_HOST)

    return (parse_host_name(name) if ipv6 is None else _parse_ipv6(ipv6)), _parse_port(port, parts.scheme)


def _parse_ipv6(text: str) -> str:
    if "%" in text:
        raise InvalidUrl("must not name a network interface (the part after % in the IP address)")
    address = parse_ip(text)
    if not isinstance(address, ipaddress.IPv6Address):
        raise InvalidUrl("has brackets around something that is not an IPv6 address")

    return str(address)


def _parse_port(text: str | None, scheme: str) -> int:
    if text is None:
        return 443 if scheme == "https" else 80
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise InvalidUrl("must have a port from 1 to 65535, or none")

    return int(text)
