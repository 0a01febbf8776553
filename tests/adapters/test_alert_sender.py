"""Alert sender: the operator's alert URL may be private."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claude_relay.config import Settings
from claude_relay.errors import ConfigError
from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.wiring.alerts import alert_http_sender
from tests.support.receiver import Answer, Receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_an_alert_reaches_a_private_address_and_follows_no_redirect(hook: Receiver) -> None:
    """Without an entry in RELAY_ALLOW_PRIVATE_URLS; webhooks are not affected."""
    url = hook.url("/alert")
    sender = alert_http_sender(Settings(alert_url=url), PrivateAllowlist())
    hook.answer("/alert", Answer(status=200), Answer(status=307, headers={"Location": "http://127.0.0.1:1/"}))

    assert [sender.post(url, b"{}", {}).status for _ in range(2)] == [200, 307]
    with Receiver() as other:
        assert sender.post(other.url("/"), b"{}", {}).blocked
        assert other.connections == 0


@pytest.mark.parametrize("url", ["https://me:secret@alerts.example/x", "https://alerts.example/#x", "http://127.1/x"])
def test_an_invalid_alert_url_stops_the_start(url: str) -> None:
    """The error appears at startup, not with the first alert."""
    with pytest.raises(ConfigError, match="RELAY_ALERT_URL") as caught:
        alert_http_sender(Settings(alert_url=url), PrivateAllowlist())

    assert "secret" not in str(caught.value)
