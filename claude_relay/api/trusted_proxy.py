"""The peers whose X-Forwarded headers are trusted: an address, a list of addresses and networks, or every peer."""

from __future__ import annotations

import ipaddress


class TrustedPeers:
    """The addresses of RELAY_TRUSTED_PROXY: none if it is empty, every one if it is `*`."""

    def __init__(self, trusted: str) -> None:
        self._all = trusted == "*"
        words = [] if self._all else [word.strip() for word in trusted.split(",") if word.strip()]
        self._networks = [ipaddress.ip_network(word) for word in words]

    def __contains__(self, peer: object) -> bool:
        if self._all:
            return True
        try:
            # An address may have a zone (`fe80::1%eth0`); a client is counted by its network (`2001:db8::/64`).
            network = ipaddress.ip_network(str(peer).partition("%")[0], strict=False)
        except ValueError:
            return False
        if (mapped := getattr(network.network_address, "ipv4_mapped", None)) is not None:
            network = ipaddress.ip_network(mapped)

        return any(network.version == each.version and network.overlaps(each) for each in self._networks)
