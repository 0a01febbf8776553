"""URLs and headers of callbacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake.webhook import RESERVED, url_problem
from tests.support.intake import accepted, an_intake_context, refused


@pytest.mark.parametrize(
    "url",
    [
        "https://hook.eu1.make.com/abcdefghijklmnopqrstuvwxyz123456",
        "http://n8n:5678/webhook-waiting/1",
        "HTTPS://Example.COM/x",
        "https://a.example",
        "https://a.example./x?y=%20z#top",
        "https://a_b.example:65535/",
        "https://bücher.example/æøå",
        "https://[2001:db8::1]:8443/x",
        "https://203.0.113.7/x",
        "https://a.example/x@y",
        "https://a.example/" + "x" * (2048 - 18),
    ],
)
def test_a_url_is_kept_unchanged(url):
    assert accepted({"webhookUrl": url}).webhook_url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://a.example/" + "x" * (2049 - 18), "2,048"),
        ("ftp://a.example/x", "https://"),
        ("file:///etc/passwd", "https://"),
        ("javascript:alert(1)", "https://"),
        ("a.example/x", "https://"),
        ("//a.example/x", "https://"),
        ("https:/a.example", "https://"),
        ("https:a.example", "https://"),
        ("https://", "no host"),
        ("https:///x", "no host"),
        ("https://:443/x", "no host"),
        ("https://a.example/x y", "spaces"),
        (" https://a.example/x", "spaces"),
        ("https://a.example/x\n", "line breaks"),
        ("https://a.example/\x00", "invisible"),
        ("https://a.exam\u200bple/", "invisible"),
        ("https://a.example\\@b.example/", "backslash"),
        ("https://user:pass@a.example/", "user name"),
        ("https://@a.example/", "user name"),
        ("https://a.example:0/", "port"),
        ("https://a.example:/", "port"),
        ("https://a.example:65536/", "port"),
        ("https://a.example:http/", "port"),
        ("https://[::1/", "brackets"),
        ("https://a..example/", "host name"),
        ("https://-a.example/", "host name"),
        ("https://a.example,b.example/", "host name"),
        ("https://a%2eexample/", "host name"),
        ("https://" + "a" * 64 + ".example/", "host name"),
        ("https://" + "a." * 127 + "example/", "host name"),
        ("https://{{1.webhook}}/", "host name"),
    ],
)
def test_an_invalid_url_is_refused_with_the_problem(url, words):
    for field in ("webhookUrl", "failureWebhookUrl"):
        assert words in refused({field: url})[field]


@given(st.text() | st.text(alphabet="htps:/[]@.%\\a1 ").map(lambda rest: "https://" + rest))
def test_any_string_is_a_url_or_has_a_problem(text):
    assert url_problem(text) is None or url_problem(text)


def test_a_well_formed_url_is_checked_by_the_context():
    """It is called once, and only for well-formed URLs."""
    asked = []

    def check(url):
        asked.append(url)
        return "must not be a private address"

    body = {"webhookUrl": "http://10.0.0.1/", "failureWebhookUrl": "nonsense"}
    problems = refused(body, context=an_intake_context(check_url=check))

    assert problems["webhookUrl"] == "must not be a private address"
    assert asked == ["http://10.0.0.1/"]


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
