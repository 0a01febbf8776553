"""The peers whose X-Forwarded headers are trusted."""

from __future__ import annotations

import pytest

from claude_relay.api.trusted_proxy import TrustedPeers


@pytest.mark.parametrize(
    "trusted, peer, expected",
    [
        ("172.16.0.0/12", "172.18.0.1", True),
        ("172.16.0.0/12", "::ffff:172.18.0.1", True),
        ("172.16.0.0/12", "10.0.0.1", False),
        ("172.16.0.0/12", "", False),
        ("127.0.0.1,fd00::/8", "fd00::7", True),
        ("127.0.0.1,fd00::/8", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("fe80::1", "fe80::1%eth0", True),
        ("2001:db8::5", "2001:db8::/64", True),
        ("*", "192.0.2.7", True),
        ("", "127.0.0.1", False),
    ],
)
def test_a_peer_is_trusted_by_its_address_or_network(trusted: str, peer: str, expected: bool) -> None:
    """CASES C11: in a container the peer is the gateway of a bridge, whose address is not known in advance."""
    assert (peer in TrustedPeers(trusted)) is expected
