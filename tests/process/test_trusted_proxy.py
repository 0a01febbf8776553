"""X-Forwarded headers of a proxy in a network that is trusted, and of any other peer, on a real API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "trusted, believed", [("10.0.0.0/8,127.0.0.0/8", True), ("127.0.0.1", True), ("10.0.0.0/8", False)]
)
def test_headers_of_a_trusted_network_are_believed_and_no_others(tmp_path: Path, trusted: str, believed: bool) -> None:
    """CASES C11: the URLs of the 202 begin with the host that the proxy names."""
    with Rig(tmp_path, RELAY_TRUSTED_PROXY=trusted) as rig:
        rig.start_api()
        headers = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "relay.example.com",
            "X-Forwarded-For": "192.0.2.9",
        }
        answer = rig.http.post(f"{rig.url}/api/claude", json={"prompt": "Hei"}, headers=headers, timeout=60)

        assert answer.status_code == 202
        assert answer.json()["statusUrl"].startswith("https://relay.example.com/") is believed
