"""Checks of the network: webhooks and Anthropic."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
import trustme

from claude_relay import wiring
from claude_relay.cli.doctor import network
from claude_relay.config import Settings
from tests.support.builders import a_completion, a_submission
from tests.support.doctor import faults
from tests.support.ports import refusing_port


def test_destinations_are_connected_to():
    allowed = Settings(allow_private_urls=("127.0.0.1",))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        assert wiring.probe_problem(allowed, url) is None
        assert "not public" in (wiring.probe_problem(Settings(), url) or "")

    with refusing_port() as port:
        assert "no connection" in (wiring.probe_problem(allowed, f"http://127.0.0.1:{port}") or "")
    assert "looked up" in (wiring.probe_problem(allowed, "https://nowhere.invalid") or "")


def test_an_untrusted_certificate_is_reported():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def handshake(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=handshake, args=(listener,))
        thread.start()
        problem = wiring.probe_problem(
            Settings(allow_private_urls=("127.0.0.1",)), f"https://127.0.0.1:{listener.getsockname()[1]}"
        )
        thread.join(60)

    assert "certificate is not valid" in (problem or "")


def test_the_latest_destinations_are_tried(tmp_path):
    given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
    with wiring.open_relay(given, create=True) as relay:
        for host_name in ("one", "two", "one"):
            relay.submit(a_submission(webhook_url=f"http://{host_name}.invalid/hook"))
            [claimed] = relay.execution.claim("w", limit=1)
            relay.execution.sending(claimed)
            relay.execution.complete(claimed, a_completion())
        assert relay.queries.latest_destinations() == ["http://one.invalid", "http://two.invalid"]

    findings = faults(network.webhooks(given))

    assert [fault.detail.partition(": ")[0] for fault in findings] == ["http://one.invalid", "http://two.invalid"]
    assert all("redeliver --dead --host" in fault.fix for fault in findings)


@pytest.mark.parametrize(
    ("status", "result"), [(200, "ok"), (401, "fail"), (403, "fail"), (429, "warn"), (529, "warn"), (404, "fail")]
)
def test_the_status_of_the_call_with_the_key(server, status, result):
    finding = network.classify_status(
        status, "https://api.anthropic.com", server.credentials / "ANTHROPIC_API_KEY", server
    )

    assert finding.result == result and bool(finding.fix) == (result != "ok")
