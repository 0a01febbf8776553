"""URLs and headers of callbacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake.webhook import RESERVED
from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.webhooks.ssrf_guard import literal_problem
from tests.support.intake import accepted, an_intake_context, refused
from tests.support.webhook_urls import REFUSED

#: An empty field is not given, and half a character is refused in any field.
URLS = [(url, words) for url, words in REFUSED if url and "\ud800" not in url]
GUARDED = an_intake_context(check_url=lambda url: literal_problem(url, PrivateAllowlist()))


@pytest.mark.parametrize(
    "url",
    [
        "https://hook.eu1.make.com/abcdefghijklmnopqrstuvwxyz123456",
        "HTTPS://Example.COM/x",
        "https://a.example./x?y=%20z",
        "https://a_b.example:65535/",
        "https://bücher.example/æøå",
        "https://[2606:4700:4700::1111]:8443/x",
        "https://a.example/x@y",
        "https://a.example/" + "x" * (2048 - 18),
    ],
)
def test_a_valid_url_is_kept_as_written(url):
    assert accepted({"webhookUrl": url}, context=GUARDED).webhook_url == url


@pytest.mark.parametrize(("url", "words"), URLS, ids=lambda value: ascii(value)[:60])
def test_an_invalid_url_is_refused_with_its_problem(url, words):
    for field in ("webhookUrl", "failureWebhookUrl"):
        problem = refused({field: url}, context=GUARDED)[field]
        assert any(part in problem for part in words.split("|")), problem


@given(st.text() | st.text(alphabet="htps:/[]@.%\\a1 ").map(lambda rest: "https://" + rest))
def test_any_string_is_a_valid_url_or_a_problem(text):
    problem = GUARDED.check_url(text)

    assert problem is None or problem


def test_each_url_is_checked_once():
    """`check_url` alone decides about a URL."""
    checked = []

    def check(url):
        checked.append(url)
        return "must not be a private address" if "10.0.0.1" in url else None

    body = {"webhookUrl": "http://10.0.0.1/", "failureWebhookUrl": "nonsense"}
    problems = refused(body, context=an_intake_context(check_url=check))

    assert problems == {"webhookUrl": "must not be a private address"}
    assert checked == ["http://10.0.0.1/", "nonsense"]


def test_headers_keep_their_names():
    headers = {"x-make-apikey": " key ", "Authorization": "Bearer é", "X-Empty": "", "x-null": None}

    assert accepted({"webhookHeaders": headers}).webhook_headers == {
        "x-make-apikey": "key",
        "Authorization": "Bearer é",
    }


@pytest.mark.parametrize(
    "name", [*RESERVED, "Host", "CONTENT-LENGTH", "Webhook-Signature", "User-Agent", "accept-encoding"]
)
def test_a_reserved_header_is_refused_with_the_reason(name):
    assert "cannot be set: it " in refused({"webhookHeaders": {name: "x"}})[f"webhookHeaders.{name}"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x key", "v", "not a header name"),
        ("x:key", "v", "not a header name"),
        ("x\nkey", "v", "not a header name"),
        ("", "v", "not a header name"),
        ("å", "v", "not a header name"),
        ("x" * 129, "v", "not a header name"),
        ("x-a", "a\r\nX-Evil: 1", "one line"),
        ("x-a", "a\x00b", "one line"),
        ("x-a", "a\x7f", "one line"),
        ("x-a", "a\x85b", "one line"),
        ("x-a", "日本", "cannot carry"),
        ("x-a", "v" * 4097, "4,096"),
        ("x-a", 5, "a number"),
        ("x-a", ["v"], "a list"),
    ],
)
def test_an_invalid_header_is_refused(name, value, words):
    [(field, problem)] = refused({"webhookHeaders": {name: value}}).items()

    assert field.startswith("webhookHeaders.") and words in problem


def test_a_headers_value_is_never_shown():
    """It is often a key."""
    assert "s3cret" not in str(refused({"webhookHeaders": {"x-a": "s3cret\n", "x-b": "s3cret日"}}))


def test_more_than_ten_headers_are_refused():
    ten = {f"x-{number}": "v" for number in range(10)}

    assert len(accepted({"webhookHeaders": ten}).webhook_headers) == 10
    assert "maximum is 10" in refused({"webhookHeaders": {**ten, "x-10": "v"}})["webhookHeaders"]


def test_a_duplicate_header_is_refused():
    assert "duplicate" in refused({"webhookHeaders": {"X-Key": "1", "x-key": "2"}})["webhookHeaders.x-key"]
