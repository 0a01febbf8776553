"""The guard: which URLs are taken at the door, and which addresses are connected to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from claude_relay.errors import ConfigError
from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.webhooks.ssrf_guard import Blocked, is_public, literal_problem, resolve
from claude_relay.webhooks.url import parse_url
from tests.support.addresses import REFUSED, TAKEN

NOBODY = PrivateAllowlist()
SOMEBODY = PrivateAllowlist.parse(
    ("n8n", "make.internal:5678", "10.0.0.0/8", "127.0.0.1:5678", "[fd00::]:443", "fd12::/16", "")
)


@pytest.mark.parametrize("url", TAKEN)
def test_a_public_url_is_taken(url):
    """
    What scenarios really use passes the door.
    """
    assert literal_problem(url, NOBODY) is None


@pytest.mark.parametrize(("url", "why"), REFUSED, ids=lambda value: ascii(value)[:60])
def test_a_url_that_must_not_be_called_is_refused_in_words(url, why):
    """
    Every way to write an inner address, or no URL at all, is a 400 that says what to mend.
    """
    problem = literal_problem(url, NOBODY)

    assert problem is not None
    assert any(words in problem for words in why.split("|")), problem
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("url", "taken"),
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
def test_what_the_operator_names_is_taken(url, taken):
    """
    RELAY_ALLOW_PRIVATE_URLS opens the named hosts, ports and networks and nothing beside them.
    """
    assert taken is (literal_problem(url, SOMEBODY) is None)


@pytest.mark.parametrize("entry", ["::ffff:10.0.0.1", "[::ffff:10.0.0.1]:80", "10.0.0.1"])
def test_a_mapped_address_is_named_by_either_of_its_names(entry):
    """
    To the kernel they are one.
    """
    allow = PrivateAllowlist.parse([entry])

    assert literal_problem("http://10.0.0.1/", allow) is None
    assert literal_problem("http://[::ffff:10.0.0.1]/", allow) is None


def test_with_networks_alone_a_name_waits_for_its_lookup():
    """
    A container's name can lead into an allowed network; the door cannot know, so the attempt decides.
    """
    docker = PrivateAllowlist.parse(["172.16.0.0/12"])

    assert literal_problem("http://n8n:5678/", docker) is None
    assert literal_problem("http://n8n:5678/", PrivateAllowlist.parse(["other"])) is not None


@pytest.mark.parametrize(
    ("alert", "url", "taken"),
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
def test_the_operators_own_address_is_open_to_his_alerts(alert, url, taken):
    """
    RELAY_ALERT_URL names its host and port, and nothing beside them.
    """
    assert taken is (literal_problem(url, NOBODY.with_url(alert)) is None)
    assert NOBODY == PrivateAllowlist()


def test_bad_entries_are_all_named():
    """
    A setting that cannot be read stops the start with one sentence a fault.
    """
    with pytest.raises(ConfigError) as caught:
        PrivateAllowlist.parse(["n8n", "10.0.0.1/8", "http://n8n", "*", "2130706433", "n8n:x", "[::1"])

    assert len(caught.value.problems) == 6
    assert all(one.startswith("RELAY_ALLOW_PRIVATE_URLS: '") for one in caught.value.problems)


def test_the_url_that_is_called_has_the_host_that_was_checked():
    """
    The host is written as the guard read it, so that no later reader can take it for another.
    """
    target = parse_url("HTTPS://\uff22\uff2aØRN.no.:443/Ø?q=1")

    assert (target.host, target.port) == ("xn--bjrn-hra.no", 443)
    assert target.url == "https://xn--bjrn-hra.no/Ø?q=1"
    assert parse_url("http://[0:0::1]:8080/").url == "http://[::1]:8080/"


def lookup(*addresses):
    """A resolver that knows one answer."""

    def resolver(host, port, type):
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ipaddress.ip_address(one).version], type, 6, "", (one, port) if "." in one else (one, port, 0, 0))
            for one in addresses
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
def test_one_inner_address_spoils_the_name(answers):
    """
    A name is refused as a whole when any of its addresses is inside, without telling which.
    """
    with pytest.raises(Blocked) as caught:
        resolve("hook.example.com", 443, NOBODY, lookup(*answers))

    assert not isinstance(caught.value, OSError)
    assert not any(one in str(caught.value) for one in answers)


def test_every_checked_address_is_handed_on_in_its_order():
    """
    The sender connects to these and asks nobody again.
    """
    found = resolve("hook.example.com", 443, NOBODY, lookup("2606:4700::1", "8.8.8.8"))

    assert found == [
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
def test_a_name_may_lead_where_the_operator_allows(host, port, answer, open_):
    """
    An allowed name may lead anywhere, any name may lead into an allowed network.
    """
    if open_:
        assert resolve(host, port, SOMEBODY, lookup(answer))
    else:
        with pytest.raises(Blocked):
            resolve(host, port, SOMEBODY, lookup(answer))


def test_a_name_without_addresses_is_not_found():
    """
    An empty answer is an error of the lookup, which may pass, and no refusal.
    """
    with pytest.raises(socket.gaierror):
        resolve("hook.example.com", 443, NOBODY, lookup())


@pytest.mark.parametrize("literal", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost"])
def test_what_the_system_takes_for_loopback_is_blocked(literal):
    """
    Were an odd notation to pass the door, the real resolver's answer is still checked.
    """
    with pytest.raises(Blocked):
        resolve(literal, 80, NOBODY)


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.216.34", "2a00:1450:400f:80d::200e", "::ffff:1.1.1.1"])
def test_the_internet_is_public(text):
    """
    Real addresses are not caught in the net.
    """
    assert is_public(ipaddress.ip_address(text))
