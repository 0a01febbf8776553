"""The peers whose X-Forwarded headers are trusted: an address, a list of addresses and networks, or every peer."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, MutableMapping
from typing import Any


def drop_untrusted(trusted: str) -> Callable[[MutableMapping[str, Any]], None]:
    """
    A filter of a request's environment that removes X-Forwarded headers of any peer that `trusted` does not contain.

    waitress itself compares the peer with one address, and knows no networks: it trusts `*` behind this filter.
    """
    networks = [] if trusted == "*" else [ipaddress.ip_network(word) for word in trusted.split(",")]

    def drop(environ: MutableMapping[str, Any]) -> None:
        if not networks or _contains(networks, str(environ.get("REMOTE_ADDR"))):
            return
        for name in [name for name in environ if name.startswith("HTTP_X_FORWARDED_") or name == "HTTP_FORWARDED"]:
            del environ[name]

    return drop


def _contains(networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network], peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address

    return any(address in network for network in networks)
