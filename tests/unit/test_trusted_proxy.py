"""The peers whose X-Forwarded headers are kept."""

from __future__ import annotations

import pytest

from claude_relay.api.trusted_proxy import drop_untrusted


@pytest.mark.parametrize(
    "trusted, peer, kept",
    [
        ("172.16.0.0/12", "172.18.0.1", True),
        ("172.16.0.0/12", "::ffff:172.18.0.1", True),
        ("172.16.0.0/12", "10.0.0.1", False),
        ("172.16.0.0/12", "", False),
        ("127.0.0.1,fd00::/8", "fd00::7", True),
        ("127.0.0.1,fd00::/8", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("*", "192.0.2.7", True),
    ],
)
def test_headers_of_other_peers_are_removed(trusted: str, peer: str, kept: bool) -> None:
    """CASES C11: in a container the peer is the gateway of a bridge, whose address is not known in advance."""
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": "198.51.100.9", "HTTP_FORWARDED": "for=x", "HTTP_HOST": "h"}
    drop_untrusted(trusted)(environ)

    assert ("HTTP_X_FORWARDED_FOR" in environ, "HTTP_FORWARDED" in environ) == (kept, kept)
    assert environ["HTTP_HOST"] == "h"
