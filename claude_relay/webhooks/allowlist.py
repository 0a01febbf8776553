"""What `RELAY_ALLOW_PRIVATE_URLS` names: the inner hosts and networks that webhooks may reach after all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..errors import ConfigError
from .url import Address, parse_ip, parse_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class PrivateAllowlist:
    """The names and networks, each with the one port that is meant, or None for any."""

    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: frozenset[tuple[Network, int | None]] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> PrivateAllowlist:
        """From `n8n`, `n8n:5678`, `10.0.0.0/8`, `127.0.0.1`, `127.0.0.1:5678`, `[::1]:5678`; raises `ConfigError`."""
        names: set[tuple[str, int | None]] = set()
        networks: set[tuple[Network, int | None]] = set()
        problems = []
        for entry in filter(None, map(str.strip, entries)):
            try:
                what, port = _read(entry)
            except ValueError as exc:
                problems.append(f"RELAY_ALLOW_PRIVATE_URLS: {entry!r} {exc}")
                continue
            if isinstance(what, str):
                names.add((what, port))
            else:
                networks.add((what, port))
        if problems:
            raise ConfigError(problems)

        return cls(names=frozenset(names), networks=frozenset(networks))

    def with_url(self, url: str | None) -> PrivateAllowlist:
        """The same, and the host and port of `url`, which the operator has named by it. Raises `Unreadable`."""
        if url is None:
            return self
        target = parse_url(url)
        if target.address is None:
            return replace(self, names=self.names | {(target.host, target.port)})

        return replace(self, networks=self.networks | {(_alone(target.address), target.port)})

    def allows_name(self, host: str, port: int) -> bool:
        """Whether that name may be called, wherever it leads."""
        return (host, None) in self.names or (host, port) in self.names

    def allows_ip(self, address: Address, port: int) -> bool:
        """Whether that address may be called. `::ffff:127.0.0.1` is 127.0.0.1: so it is to the kernel."""
        plain = getattr(address, "ipv4_mapped", None) or address

        return any(plain in network and only in (None, port) for network, only in self.networks)


def _alone(address: Address) -> Network:
    """The network of that address and no other; of a mapped one the address that it is to the kernel."""
    return ipaddress.ip_network(getattr(address, "ipv4_mapped", None) or address)


def _read(text: str) -> tuple[str | Network, int | None]:
    if "://" in text:
        raise ValueError("is a URL: name the host alone, or host:port")
    if "/" in text:
        try:
            return ipaddress.ip_network(text), None
        except ValueError:
            raise ValueError("is not a network: write its first address, a slash and its length") from None

    bare = text[1:-1] if text[0] + text[-1] == "[]" else text
    address = parse_ip(bare)
    if address is not None:
        return _alone(address), None

    target = parse_url(f"http://{text}/")
    port = target.port if ":" in text.rpartition("]")[2] else None
    return (_alone(target.address) if target.address else target.host), port
