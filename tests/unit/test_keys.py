"""API keys as they are stored."""

from __future__ import annotations

from dataclasses import replace

from claude_relay.core.keys import ADMIN, ApiKey, Scope, digest_of, key_id, matches, new_key
from claude_relay.storage.sql.key_records import KEY, key_values, to_key

STORED = (
    "0badcafe",
    "make",
    b"d" * 32,
    "admin,metrics,read,submit",
    None,
    None,
    None,
    1.0,
    None,
    1.0,
)


def test_the_stored_words_of_the_scopes_never_change() -> None:
    """CASES M9: the rows of an earlier version are read as they were written, the owner of all jobs included."""
    key = ApiKey(id="0badcafe", name="make", digest=b"d" * 32, scopes=frozenset(Scope), created_at=1.0)

    assert dict(zip(KEY, STORED, strict=True)) == dict(zip(KEY, key_values(key), strict=True))
    assert to_key(STORED) == key
    assert ADMIN == "admin"


def test_only_the_text_of_a_key_that_was_not_revoked_matches() -> None:
    """No text matches a key that does not exist."""
    key, text = new_key("make", frozenset(Scope), rate=None, daily_budget_usd=None, now=1.0, entropy=bytes(range(36)))

    assert matches(key, text) and key_id(text) == key.id
    assert not matches(key, text + "x") and not matches(key, "") and not matches(None, text)
    assert not matches(replace(key, revoked_at=2.0), text)
    assert not matches(replace(key, digest=bytes(32)), text)
    assert digest_of(text) == key.digest
    assert [key_id(other) for other in ("", "crk_", text.upper(), f" {text}")] == [None] * 4
