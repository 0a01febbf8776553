"""SSRF guard: URLs accepted on submission, and the IP addresses that are connected to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from claude_relay.errors import ConfigError
from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.webhooks.ssrf_guard import Blocked, is_public, literal_problem, resolve
from claude_relay.webhooks.url import parse_url
from tests.support.webhook_urls import ALLOWED, REFUSED

ALLOW_NONE = PrivateAllowlist()
ALLOW_SOME = PrivateAllowlist.parse(
    ("n8n", "make.internal:5678", "10.0.0.0/8", "127.0.0.1:5678", "[fd00::]:443", "fd12::/16", "")
)


@pytest.mark.parametrize("url", ALLOWED)
def test_a_public_url_is_taken(url):
    """URLs that scenarios use are accepted."""
    assert literal_problem(url, ALLOW_NONE) is None


@pytest.mark.parametrize(("url", "why"), REFUSED, ids=lambda value: ascii(value)[:60])
def test_a_url_that_must_not_be_called_is_refused_with_its_problem(url, why):
    """Each way to write a private address, and each invalid URL, has a problem text that names the fix."""
    problem = literal_problem(url, ALLOW_NONE)

    assert problem is not None
    assert any(words in problem for words in why.split("|")), problem
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://n8n/", True),
        ("http://N8N.:81/", True),
        ("http://make.internal:5678/", True),
        ("http://127.0.0.1:5678/", True),
        ("http://[::ffff:127.0.0.1]:5678/", True),
        ("http://127.0.0.1:5679/", False),
        ("http://10.1.2.3:22/", True),
        ("http://11.1.2.3:22/", False),
        ("https://[fd00::]/", True),
        ("http://[fd00::]/", False),
        ("http://[fd12:3::4]:9/", True),
        ("http://127.1:5678/", False),
        ("http://169.254.169.254/", False),
        ("http://user@n8n/", False),
    ],
)
def test_hosts_on_the_allowlist_are_accepted(url, allowed):
    """RELAY_ALLOW_PRIVATE_URLS allows the listed hosts, ports and networks only."""
    assert allowed is (literal_problem(url, ALLOW_SOME) is None)


@pytest.mark.parametrize("entry", ["::ffff:10.0.0.1", "[::ffff:10.0.0.1]:80", "10.0.0.1"])
def test_an_ipv4_mapped_address_matches_in_both_notations(entry):
    """The kernel connects to the same host."""
    allow = PrivateAllowlist.parse([entry])

    assert literal_problem("http://10.0.0.1/", allow) is None
    assert literal_problem("http://[::ffff:10.0.0.1]/", allow) is None


def test_with_an_allowed_network_a_name_is_checked_at_the_attempt():
    """A container's name can resolve into an allowed network, which is known only at the attempt."""
    docker = PrivateAllowlist.parse(["172.16.0.0/12"])

    assert literal_problem("http://n8n:5678/", docker) is None
    assert literal_problem("http://n8n:5678/", PrivateAllowlist.parse(["other"])) is not None


@pytest.mark.parametrize(
    ("alert", "url", "allowed"),
    [
        ("http://127.0.0.1:9093/alert", "http://127.0.0.1:9093/alert", True),
        ("http://127.0.0.1:9093/alert", "http://127.0.0.1:9094/alert", False),
        ("http://127.0.0.1:9093/alert", "http://127.0.0.2:9093/alert", False),
        ("https://alerts.internal/x", "https://alerts.internal/y", True),
        ("https://alerts.internal/x", "http://alerts.internal/x", False),
        ("http://[::1]/x", "http://[::1]:80/", True),
        (None, "http://127.0.0.1/", False),
    ],
)
def test_the_alert_url_allows_its_own_host_and_port(alert, url, allowed):
    """RELAY_ALERT_URL allows its host and port only."""
    assert allowed is (literal_problem(url, ALLOW_NONE.with_url(alert)) is None)
    assert ALLOW_NONE == PrivateAllowlist()


def test_all_invalid_entries_are_reported():
    """An invalid setting stops the start with one sentence per problem."""
    with pytest.raises(ConfigError) as caught:
        PrivateAllowlist.parse(["n8n", "10.0.0.1/8", "http://n8n", "*", "2130706433", "n8n:x", "[::1"])

    assert len(caught.value.problems) == 6
    assert all(problem.startswith("RELAY_ALLOW_PRIVATE_URLS: '") for problem in caught.value.problems)


def test_the_url_that_is_called_has_the_host_that_was_checked():
    """The URL is rewritten with the parsed host, so that no later parser can read another one."""
    target = parse_url("HTTPS://\uff22\uff2aØRN.no.:443/Ø?q=1")

    assert (target.host, target.port) == ("xn--bjrn-hra.no", 443)
    assert target.url == "https://xn--bjrn-hra.no/Ø?q=1"
    assert parse_url("http://[0:0::1]:8080/").url == "http://[::1]:8080/"


def lookup(*addresses):
    """A resolver with a fixed answer."""

    def resolver(host, port, type):
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ipaddress.ip_address(ip).version], type, 6, "", (ip, port) if "." in ip else (ip, port, 0, 0))
            for ip in addresses
        ]

    return resolver


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        ["2606:4700::1", "::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"],
        ["100.64.0.1"],
    ],
)
def test_a_single_private_address_blocks_the_name(answers):
    """The message does not name the private address."""
    with pytest.raises(Blocked) as caught:
        resolve("hook.example.com", 443, ALLOW_NONE, lookup(*answers))

    assert not isinstance(caught.value, OSError)
    assert not any(answer in str(caught.value) for answer in answers)


def test_checked_addresses_keep_their_order():
    """The sender connects to these without another lookup."""
    addresses = resolve("hook.example.com", 443, ALLOW_NONE, lookup("2606:4700::1", "8.8.8.8"))

    assert addresses == [
        (socket.AF_INET6, ("2606:4700::1", 443, 0, 0)),
        (socket.AF_INET, ("8.8.8.8", 443)),
    ]


@pytest.mark.parametrize(
    ("host", "port", "answer", "open_"),
    [
        ("n8n", 81, "127.0.0.1", True),
        ("make.internal", 5678, "192.168.0.1", True),
        ("make.internal", 5679, "192.168.0.1", False),
        ("inside.example.com", 22, "10.1.1.1", True),
        ("inside.example.com", 22, "8.8.8.8", False),
        ("inside.example.com", 80, "172.16.0.1", False),
        ("inside.example.com", 5678, "127.0.0.1", True),
    ],
)
def test_an_allowed_name_or_network_may_be_called(host, port, answer, open_):
    """An allowed name may resolve to any address, any name may resolve into an allowed network."""
    if open_:
        assert resolve(host, port, ALLOW_SOME, lookup(answer))
    else:
        with pytest.raises(Blocked):
            resolve(host, port, ALLOW_SOME, lookup(answer))


def test_a_name_without_addresses_is_not_found():
    """An empty answer is a lookup error, which is retried, and not a block."""
    with pytest.raises(socket.gaierror):
        resolve("hook.example.com", 443, ALLOW_NONE, lookup())


@pytest.mark.parametrize("literal", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost"])
def test_loopback_in_any_notation_of_the_system_resolver_is_blocked(literal):
    """The real resolver's answer is checked even if an unusual notation passes the parser."""
    with pytest.raises(Blocked):
        resolve(literal, 80, ALLOW_NONE)


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.216.34", "2a00:1450:400f:80d::200e", "::ffff:1.1.1.1"])
def test_the_internet_is_public(text):
    """Public addresses are not blocked."""
    assert is_public(ipaddress.ip_address(text))
