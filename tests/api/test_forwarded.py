"""X-Forwarded headers: of the trusted proxy only, in every form that proxies send."""

from __future__ import annotations

import json

import pytest
import requests

from claude_relay.api.forwarded import TrustedProxy
from claude_relay.api.trusted_proxy import TrustedPeers
from claude_relay.config import Settings
from claude_relay.core.text.rates import Rate
from tests.support.live_api import serving

from .conftest import KEY

_ODD = [
    {"X-Forwarded-Proto": "https, https"},
    {"X-Forwarded-Proto": "wss"},
    {"X-Forwarded-Proto": '"https'},
    {"X-Forwarded-Proto": "gopher"},
    {"X-Forwarded-Proto": ""},
    {"X-Forwarded-For": '"bad'},
    {"X-Forwarded-For": "unknown"},
    {"X-Forwarded-For": ""},
    {"X-Forwarded-For": ", ,"},
    {"X-Forwarded-For": "[::1"},
    {"X-Forwarded-Host": '"bad'},
    {"X-Forwarded-Host": "a b"},
    {"X-Forwarded-Host": "a/b"},
    {"X-Forwarded-Port": "443, 443"},
    {"Forwarded": "for=;;proto"},
    {"X-Forwarded-By": '"'},
]


@pytest.mark.parametrize("trusted", ["127.0.0.1", "*", None])
def test_no_forwarded_header_makes_a_request_fail(make, trusted: str | None) -> None:
    """CASES F10: over a socket, each submitted as any other job."""
    with serving(make().app, Settings(port=0, trusted_proxy=trusted)) as (host, port), requests.Session() as session:
        url, key = f"http://{host}:{port}/api/claude", {"X-API-Key": KEY}
        answers = [session.post(url, json={"prompt": "x"}, headers={**key, **odd}, timeout=60) for odd in _ODD]

    assert [answer.status_code for answer in answers] == [202] * len(_ODD), [answer.text for answer in answers]


def seen(trusted: str, peer: str = "192.0.2.9", **headers: str) -> tuple[str, str, str]:
    """Address, scheme and host that the app sees."""
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "inner:3000", "SERVER_PORT": "3000"}
    environ |= {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in headers.items()}

    def app(environ: dict[str, str], start_response: object) -> list[bytes]:
        return [json.dumps([environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"]]).encode()]

    address, scheme, host = json.loads(b"".join(TrustedProxy(app, TrustedPeers(trusted))(environ, None)))
    return address, scheme, host


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("10.0.0.1, 198.51.100.1", "198.51.100.1"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ('"198.51.100.1"', "198.51.100.1"),
        ("2001:db8::1", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ('198.51.100.1, "bad', "192.0.2.9"),
        ("unknown", "192.0.2.9"),
    ],
)
def test_the_address_is_the_last_of_the_list(header: str, address: str) -> None:
    assert seen("192.0.2.9", **{"for": header})[0] == address


@pytest.mark.parametrize(
    ("header", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("wss", "https"), ("ws", "http"), ("x", "http")],
)
def test_the_scheme_is_the_last_of_the_list(header: str, scheme: str) -> None:
    assert seen("*", proto=header)[1] == scheme


def test_the_host_is_the_last_of_the_list() -> None:
    assert seen("*", host="a.example, relay.example.com:8443")[2] == "relay.example.com:8443"


def test_headers_of_any_other_address_are_ignored() -> None:
    lies = {"for": "198.51.100.1", "proto": "https", "host": "evil.example"}

    assert seen("192.0.2.1", **lies) == ("192.0.2.9", "http", "inner:3000")


def test_clients_behind_the_proxy_are_limited_by_their_own_address(make) -> None:
    """By the head of a request as by a complete one."""
    app = make(rate_limit=Rate(count=1, seconds=900)).app
    with serving(app, Settings(port=0, trusted_proxy="127.0.0.1")) as (host, port):

        def guess(client: str, body: bytes | None) -> int:
            headers = {"X-API-Key": "wrong", "X-Forwarded-For": client}
            return requests.post(f"http://{host}:{port}/api/jobs", body, headers=headers, timeout=60).status_code

        assert [guess("198.51.100.1", None), guess("198.51.100.1", b"x"), guess("198.51.100.2", b"x")] == [
            403,
            429,
            403,
        ]
