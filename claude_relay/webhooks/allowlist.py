"""Allowlist from `RELAY_ALLOW_PRIVATE_URLS`: private hosts and networks that webhooks may reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from ..core.lazy_dataclass import dataclass
from ..errors import ConfigError
from .url import Address, parse_ip, parse_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class PrivateAllowlist:
    """Allowed names and networks, each with its port, or None for any port."""

    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: frozenset[tuple[Network, int | None]] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> PrivateAllowlist:
        """Parse `n8n`, `n8n:5678`, `10.0.0.0/8`, `127.0.0.1`, `127.0.0.1:5678`, `[::1]:5678`; raises `ConfigError`."""
        names: set[tuple[str, int | None]] = set()
        networks: set[tuple[Network, int | None]] = set()
        problems = []
        for entry in filter(None, map(str.strip, entries)):
            try:
                host, port = _parse_entry(entry)
            except ValueError as exc:
                problems.append(f"RELAY_ALLOW_PRIVATE_URLS: {entry!r} {exc}")
                continue
            if isinstance(host, str):
                names.add((host, port))
            else:
                networks.add((host, port))
        if problems:
            raise ConfigError(problems)

        return cls(names=frozenset(names), networks=frozenset(networks))

    def with_url(self, url: str | None) -> PrivateAllowlist:
        """A copy that also allows the host and port of `url`, which the operator has set. Raises `InvalidUrl`."""
        if url is None:
            return self
        target = parse_url(url)
        if target.address is None:
            return replace(self, names=self.names | {(target.host, target.port)})

        return replace(self, networks=self.networks | {(_single_address(target.address), target.port)})

    def allows_name(self, host: str, port: int) -> bool:
        """Whether that name may be called, whatever it resolves to."""
        return (host, None) in self.names or (host, port) in self.names

    def allows_ip(self, address: Address, port: int) -> bool:
        """Whether that IP address may be called. `::ffff:127.0.0.1` is 127.0.0.1, as it is for the kernel."""
        plain = getattr(address, "ipv4_mapped", None) or address

        return any(plain in network and allowed in (None, port) for network, allowed in self.networks)


def _single_address(address: Address) -> Network:
    """The network of a single address; an IPv4-mapped address counts as IPv4, as it does for the kernel."""
    return ipaddress.ip_network(getattr(address, "ipv4_mapped", None) or address)


def _parse_entry(text: str) -> tuple[str | Network, int | None]:
    if "://" in text:
        raise ValueError("is a URL: write only the host, or host:port")
    if "/" in text:
        try:
            return ipaddress.ip_network(text), None
        except ValueError:
            raise ValueError("is not a network: write its first IP address, a slash and the prefix length") from None

    bare = text[1:-1] if text[0] + text[-1] == "[]" else text
    address = parse_ip(bare)
    if address is not None:
        return _single_address(address), None

    target = parse_url(f"http://{text}/")
    port = target.port if ":" in text.rpartition("]")[2] else None
    return (_single_address(target.address) if target.address else target.host), port
