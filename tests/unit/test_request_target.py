"""The path that a request names: as `requests` writes it, which sent the callbacks of earlier versions."""

from __future__ import annotations

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.webhooks.pinned_connection import request_target

PATHS = [
    "",
    "/",
    "/hook",
    "/hook/",
    "/hook?",
    "?a=b",
    "/hook?a=b&c=%2F",
    "/å/é?ø=日本",
    "/a/./b/../c",
    "/a/..",
    "/a/.",
    "/../../a",
    "//a//b",
    "/a%20b%zz?x=%41%",
    '/a"<>{}|^`?q="<>{}|^`',
    "/a;b=c,d!$&'()*+~[]@:",
]


def of_requests(path: str) -> str:
    return requests.Request("POST", f"https://example.com{path}").prepare().path_url


@pytest.mark.parametrize("path", [path for path in PATHS if "%" not in path and path != "/hook?"])
def test_a_path_is_encoded_as_other_clients_do(path: str) -> None:
    assert request_target(f"https://example.com{path}") == of_requests(path)


def test_an_escape_of_the_caller_is_sent_as_it_was_written() -> None:
    assert request_target("https://example.com/a%20b%2fc?x=%41") == "/a%20b%2fc?x=%41"
    assert request_target("https://example.com/100%?x=%zz") == "/100%25?x=%25zz"


@given(
    st.sampled_from(PATHS),
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="#?\\"), max_size=20),
)
def test_it_is_always_ascii_without_spaces_and_begins_with_a_slash(path: str, more: str) -> None:
    target = request_target(f"https://example.com{path or '/'}{more}")

    assert target.startswith("/") and target.isascii() and target.isprintable() and " " not in target
