"""Secrets are removed from output, also from text that was cut within one."""

from __future__ import annotations

import pytest

from claude_relay.core.text.redaction import REDACTED, Redactor

SECRET, LONGER = "hemmelig-1", "hemmelig-12345"
REDACT = Redactor([SECRET, LONGER, "short", ""])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a hemmelig-1 b", f"a {REDACTED} b"),
        ("hemmelig-12345", REDACTED),  # not the rest of it after a shorter one
        ("sk-ant-api03-x_y/z+= end", f"{REDACTED} end"),
        ("whsec_AAAA crk_0badcafe_x", f"{REDACTED} {REDACTED}"),
        ("short words stay", "short words stay"),
        ("nothing", "nothing"),
    ],
)
def test_keys_of_every_owner_and_the_secrets_of_the_settings_are_removed(text: str, shown: str) -> None:
    assert REDACT(text) == shown


@pytest.mark.parametrize("length", range(1, len(LONGER)))
def test_a_text_that_ends_within_a_secret_shows_no_more_than_five_characters_of_it(length: int) -> None:
    """Also where a shorter secret is its beginning."""
    assert REDACT.cut_off(f"key: {LONGER[:length]}") == f"key: {REDACTED if length >= 6 else LONGER[:length]}"


def test_a_whole_secret_whose_end_is_the_beginning_of_another_is_removed_whole() -> None:
    redact = Redactor(["secret-tail-of", "tail-of-another"])

    assert redact.cut_off("a secret-tail-of") == f"a {REDACTED}"
    assert redact.cut_off("a secret-tail-of, tail-of-an") == f"a {REDACTED}, {REDACTED}"
    assert redact.cut_off("nothing") == "nothing"
