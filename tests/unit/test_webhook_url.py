"""The guard checks the same host that the HTTP library then connects to, for any URL."""

from __future__ import annotations

import ipaddress

import requests
import urllib3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claude_relay.webhooks.url import InvalidUrl, WebhookUrl, parse_url

_HOSTS = st.sampled_from(
    [
        *("example.com", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0x7f.1", "2130706433", "0177.0.0.1"),
        *(
            "bjørn.no",
            "①②⑦.⓪.⓪.①",
            "127。0。0。1",
            "ａ.com",
            "xn--bjrn-hra.no",
            "a_b.c",
            "example.com.",
            "ß.de",
            "[::1%25lo]",
        ),
    ]
)
_DELIMITERS = st.sampled_from(
    [*"@:/\\?#[]%;&,.=~!$'()*+|^`{}<>\" \t\r\n\x00\x7f", "%00", "%2f", "%40", "//", "..", "\u2028", "\uff0f"]
)
_PARTS = st.one_of(
    _HOSTS, _DELIMITERS, st.sampled_from(["http:", "https:", "//", "80", "443", "8080", "user", "a", "b"])
)
_PORTS = st.sampled_from(["", "", ":80", ":443", ":8080", ":65535", ":0", ":080", ":"])
_REST = st.lists(
    st.one_of(_DELIMITERS, st.sampled_from(["/", "?", "a", "=", "æ", "https://b.no/", "@a.no"])), max_size=8
)
_COMPLETE = st.builds(
    "{}://{}{}/{}".format, st.sampled_from(["http", "https", "HTTP"]), _HOSTS, _PORTS, _REST.map("".join)
)
_URLS = st.one_of(
    _COMPLETE,
    st.builds(lambda url, at, part: url[:at] + part + url[at:], _COMPLETE, st.integers(0, 40), _PARTS),
    st.builds("http://{}/{}".format, st.text(max_size=12), st.text(max_size=12)),
    st.lists(_PARTS, max_size=12).map("".join),
)


def parse_or_none(url: str) -> WebhookUrl | None:
    try:
        return parse_url(url)
    except InvalidUrl:
        return None


@settings(max_examples=1500, deadline=None)
@given(_URLS)
@example("http://example.com\\@127.0.0.1/")
@example("http://127.0.0.1:80\\@example.com/")
@example("http://example.com#@127.0.0.1/")
@example("http://example.com?@127.0.0.1/")
@example("http://example.com;@127.0.0.1/")
@example("http://[::1]@example.com/")
@example("http://example.com/../@127.0.0.1")
@example("http://example.com%2f@127.0.0.1/")
def test_the_checked_host_is_the_requested_host(url: str) -> None:
    """
    For each valid URL the library parses the same scheme, host and port, before and after it prepares the request, and
    the path can neither end the request line nor add a header.
    """
    target = parse_or_none(url)
    if target is None:
        return

    prepared = requests.Request("POST", target.url).prepare().url
    assert prepared is not None
    for text in (target.url, prepared):
        parsed = urllib3.util.parse_url(text)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        assert parsed.scheme in ("http", "https") and parsed.auth is None
        assert ((parsed.host or "").strip("[]"), port) == (target.host, target.port)
        path = parsed.request_uri
        assert path.isascii() and path.isprintable() and " " not in path and path.startswith("/")


@settings(max_examples=700, deadline=None)
@given(_URLS)
def test_parsing_is_idempotent(url: str) -> None:
    """The normalized URL parses to itself."""
    target = parse_or_none(url)
    if target is not None:
        assert parse_or_none(target.url) == target


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_no_unusual_notation_of_an_address_is_a_name(number: int, notation: int) -> None:
    """Decimal, octal, hexadecimal, short, zero-padded: parsed as the same address, or refused."""
    address = ipaddress.IPv4Address(number)
    parts = address.packed
    text = [
        str(number),
        hex(number),
        oct(number).replace("0o", "0"),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        ".".join(f"0{part:o}" for part in parts),
    ][notation]

    target = parse_or_none(f"http://{text}/")

    assert target is None or target.address == address


@given(st.integers(0, 2**128 - 1))
def test_an_ipv6_address_is_itself(number: int) -> None:
    address = ipaddress.IPv6Address(number)

    for text in (str(address), address.exploded, str(address).upper()):
        target = parse_or_none(f"http://[{text}]/")
        assert target is not None and target.address == address
