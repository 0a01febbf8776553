"""
Which addresses may be called.

Strangers say where their answers go, so without this every caller could reach what only this machine can: the
database next door, the cloud's metadata. A URL is looked at twice: as it stands, when it is submitted; and at each
attempt, when its name has been looked up and the connection goes to the very address that was checked.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InvalidRequest
from .allowlist import PrivateAllowlist
from .url import Address, InvalidUrl, parse_ip, parse_url

#: What `socket.socket(family).connect(sockaddr)` takes.
Checked = tuple[socket.AddressFamily, tuple[Any, ...]]

Resolver = Callable[..., Iterable[Any]]

#: Beyond `ipaddress.is_global`, whose lists grow with Python's version: no webhook lives there.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",  # carriers' NAT; some clouds' metadata
        "168.63.129.16/32",  # a public number, and the inside of every Azure machine
        "192.0.0.0/24",  # protocols; another cloud's metadata
        "192.31.196.0/24",  # these three: whoever is near answers for name servers and tunnels
        "192.52.193.0/24",
        "192.175.48.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "2001::/23",  # protocols: Teredo (which carries an IPv4 address), ORCHID
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # as 192.175.48.0/24
        "3fff::/20",  # documentation
    )
)

#: The part of IPv6 that the world routes. IPv4-compatible, site-local and multicast addresses are outside.
_ROUTED_V6 = ipaddress.IPv6Network("2000::/3")

#: How a machine without IPv4 sees the rest of the Internet (RFC 6052): as public as the IPv4 address in it.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_LOCAL = (".localhost", ".localdomain", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".corp", ".home")

#: Those above 1023 that browsers refuse too (https://fetch.spec.whatwg.org/#port-blocking): telephony, files, chat.
_BAD_PORTS = {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}

_CURE = "; whoever runs this relay can allow it in RELAY_ALLOW_PRIVATE_URLS"


class Blocked(InvalidRequest):
    """This address may not be called. (Not an OSError: libraries take those for a bad line and try again.)"""


def literal_problem(url: str, allow: PrivateAllowlist) -> str | None:
    """
    What is wrong with `url` as it stands, nothing looked up: for the 400 at the door.

    The sentence goes on from the field's name: `must be a whole URL …`.
    """
    try:
        target = parse_url(url)
    except InvalidUrl as exc:
        return str(exc)

    host, port, address = target.host, target.port, target.address
    if address is not None:
        if allow.allows_ip(address, port):
            return None
        return _port_problem(port) if is_public(address) else f"points at {host}, which is not a public address{_CURE}"
    # Whether a name leads into an allowed network shows only once it is looked up.
    if allow.allows_name(host, port) or allow.networks:
        return None
    if "." not in host or host.endswith(_LOCAL):
        return f"points at {host}, a name that means something in one's own network only{_CURE}"

    return _port_problem(port)


def resolve(host: str, port: int, allow: PrivateAllowlist, resolver: Resolver = socket.getaddrinfo) -> list[Checked]:
    """
    The addresses of `host`, all of them checked.

    One that may not be called spoils the lot: a name with one foot inside is a trick or a mistake. Raises `Blocked`,
    and what the resolver raises (`socket.gaierror`).
    """
    named = allow.allows_name(host, port)
    found: list[Checked] = []
    for family, _, _, _, sockaddr in resolver(host, port, type=socket.SOCK_STREAM):
        address = parse_ip(str(sockaddr[0]))
        if address is None or not (named or allow.allows_ip(address, port)):
            if address is None or not is_public(address):
                # Not which one: a caller could read the names of the inner network that way.
                raise Blocked(f"{host} leads to an address that is not public{_CURE}")
            if problem := _port_problem(port):
                raise Blocked(f"{host}: the URL {problem}")
        found.append((family, sockaddr))
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")

    return found


def is_public(address: Address) -> bool:
    """Whether the address belongs to the Internet at large."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
        if address not in _ROUTED_V6:
            return False

    return address.is_global and not any(address in network for network in _NEVER)


def _port_problem(port: int) -> str | None:
    if port in (80, 443) or (port > 1023 and port not in _BAD_PORTS):
        return None

    return f"asks for port {port}, where no webhook lives: use 443, 80 or one above 1023{_CURE}"
