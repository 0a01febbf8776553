"""API keys as they are stored."""

from __future__ import annotations

from claude_relay.core.keys import ADMIN, ApiKey, Scope
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
