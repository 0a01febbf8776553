"""
SSRF guard: which URLs and IP addresses may be called.

Callers choose where their answers go, so without this guard each of them could reach hosts that only this machine can:
the database next door, the cloud's metadata service. A URL is checked twice: as text, when it is submitted; and at each
attempt, after its name is resolved, when the connection goes to the very IP address that was checked.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InvalidRequest
from .allowlist import PrivateAllowlist
from .url import Address, InvalidUrl, parse_ip, parse_url

#: A checked address: the arguments of `socket.socket(family).connect(sockaddr)`.
Checked = tuple[socket.AddressFamily, tuple[Any, ...]]

Resolver = Callable[..., Iterable[Any]]

#: Networks without webhooks, in addition to `ipaddress.is_global`, whose lists grow with Python's version.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT; metadata of some clouds
        "168.63.129.16/32",  # formally public, but internal to every Azure machine
        "192.0.0.0/24",  # protocol assignments; metadata of another cloud
        "192.31.196.0/24",  # this and the next two: anycast for name servers and tunnels
        "192.52.193.0/24",
        "192.175.48.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarking
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "2001::/23",  # protocol assignments: Teredo (which carries an IPv4 address), ORCHID
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # as 192.175.48.0/24
        "3fff::/20",  # documentation
    )
)

#: The globally routed part of IPv6. IPv4-compatible, site-local and multicast addresses are outside.
_ROUTED_V6 = ipaddress.IPv6Network("2000::/3")

#: NAT64 (RFC 6052), the IPv4 Internet as seen from a machine without IPv4: as public as the embedded IPv4 address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_LOCAL = (".localhost", ".localdomain", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".corp", ".home")

#: Ports above 1023 that browsers refuse too (https://fetch.spec.whatwg.org/#port-blocking): telephony, files, chat.
_BAD_PORTS = {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}

_CURE = "; the operator of this relay can allow it in RELAY_ALLOW_PRIVATE_URLS"


class Blocked(InvalidRequest):
    """This host may not be called. (Not an OSError: libraries take those for a network failure and retry.)"""


def literal_problem(url: str, allow: PrivateAllowlist) -> str | None:
    """
    Why `url` may not be called, without resolving its name, or None: the check on submission.

    The sentence continues the field's name: `must begin with https:// …`.
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
    # Whether a name resolves into an allowed network is known only at the attempt.
    if allow.allows_name(host, port) or allow.networks:
        return None
    if "." not in host or host.endswith(_LOCAL):
        return f"points at {host}, a name that exists only in a private network{_CURE}"

    return _port_problem(port)


def resolve(host: str, port: int, allow: PrivateAllowlist, resolver: Resolver = socket.getaddrinfo) -> list[Checked]:
    """
    Resolve `host` and check each of its addresses.

    A single address that may not be called rejects the host: a name that leads both inside and outside is a trick or a
    mistake. Raises `Blocked`, and the resolver's own errors (`socket.gaierror`).
    """
    name_allowed = allow.allows_name(host, port)
    addresses: list[Checked] = []
    for family, _, _, _, sockaddr in resolver(host, port, type=socket.SOCK_STREAM):
        address = parse_ip(str(sockaddr[0]))
        if address is None or not (name_allowed or allow.allows_ip(address, port)):
            if address is None or not is_public(address):
                # The message does not name the address: a caller could map the private network with it.
                raise Blocked(f"{host} leads to an address that is not public{_CURE}")
            if problem := _port_problem(port):
                raise Blocked(f"{host}: the URL {problem}")
        addresses.append((family, sockaddr))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")

    return addresses


def is_public(address: Address) -> bool:
    """Whether the address is part of the public Internet."""
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

    return f"uses port {port}, which is not a webhook port: use 443, 80 or one above 1023{_CURE}"
