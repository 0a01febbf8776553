"""Excerpts, `Retry-After` and error texts."""

from __future__ import annotations

import http.client
import socket
import time

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from claude_relay.webhooks.error_text import EXCERPT, describe, excerpt, retry_after

NOW = 1767225600.0  # Thu, 01 Jan 2026 00:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 2.5 ", 2.5),
        ("0", 0.0),
        ("5\x1f", 5.0),  # CASES M1
        ("\x1c5\x1d", 5.0),
        ("999999", 86_400.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 01:00:30 +0100", 30.0),
        ("Thu Jan  1 00:00:30 2026", 30.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 86_400.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 5000, None),
        ("Thu, 99 Jan 2026 00:00:00 GMT", None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:00:30 +99999999999999", None),
        (f"Thu, 01 Jan 2026 00:00:30 GMT{' ' * 64}", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_a_day(value, seconds):
    """The wait is between zero and one day."""
    assert retry_after(value, now=NOW) == seconds


def test_a_date_without_a_zone_is_utc_in_any_time_zone(monkeypatch):
    """As HTTP defines it."""
    monkeypatch.setenv("TZ", "XXX-9")
    time.tzset()
    try:
        assert retry_after("Thu Jan  1 00:00:30 2026", now=NOW) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text() | st.text("0123456789.\x1c\x1d\x1e\x1f \u0660", max_size=8))
@example("5\x1f")
def test_any_retry_after_is_parsed_or_ignored(value):
    """Invalid values give no wait and never raise."""
    wait = retry_after(value, now=NOW)

    assert wait is None or 0 <= wait <= 86_400


@given(st.binary(max_size=5000))
def test_an_excerpt_is_short_and_printable(body):
    """No bytes can move a cursor, colour a terminal or change the reading direction."""
    text = excerpt(body)

    assert len(text) <= EXCERPT
    assert all(char.isprintable() or char in "\n\t" for char in text)


def test_an_excerpt_keeps_text_and_names_compressed_bodies():
    """Plain text is kept; compressed bytes are not decompressed."""
    assert excerpt("Queue is full\n\tÆ".encode()) == "Queue is full\n\tÆ"
    assert excerpt(b"\x1b[31mred\x00\r") == "\ufffd[31mred\ufffd\ufffd"
    assert "compressed" in excerpt(b"\x1f\x8b", "gzip")
    assert excerpt(b"plain", "identity") == "plain"


def _wrapped(inner: Exception) -> Exception:
    try:
        try:
            raise inner
        except Exception as exc:
            raise requests.exceptions.ConnectionError("POST /secret?key=1", exc) from exc
    except requests.exceptions.ConnectionError as exc:
        return exc


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "could not be looked up: no such name"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "could not be looked up: its name servers gave no answer"),
        (ConnectionRefusedError(111, "x"), "refused the connection"),
        (ConnectionResetError(104, "x"), "dropped the connection"),
        (http.client.RemoteDisconnected("x"), "closed the connection without an answer"),
        (http.client.BadStatusLine("/secret?key=1"), "answered with something that is not HTTP"),
        (OSError(101, "x"), "could not be reached: network is unreachable"),
        (UnicodeEncodeError("latin-1", "secret", 0, 1, "x"), "characters that cannot be sent"),
        (ZeroDivisionError("secret"), "could not be reached"),
    ],
)
def test_an_error_text_names_the_cause_and_only_the_host(exc, words):
    """The cause is named however deeply it is wrapped, and the URL never."""
    text = describe("hook.example.com", _wrapped(exc))

    assert words in text
    assert "hook.example.com" in text
    assert "secret" not in text


def test_an_unknown_error_is_described_by_its_class():
    """Even an internal error becomes a sentence."""
    assert describe("h", KeyError("secret")) == "the POST to h failed unexpectedly (KeyError)"
