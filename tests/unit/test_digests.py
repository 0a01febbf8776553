"""Digests of stored content."""

from __future__ import annotations

import itertools

import pytest

from claude_relay.core.digests import SIZE, digest, matches


def test_every_bit_counts_and_so_do_kind_and_place() -> None:
    rows = [
        ("a", "b"),
        ("ab", ""),
        ("", "ab"),
        (b"a", "b"),
        ("a", None),
        ("a", ""),
        ("1", "b"),
        (1, "b"),
        ("a", "b", None),
    ]
    digests = [digest(*row) for row in rows]

    assert len(set(digests)) == len(rows)
    assert {len(one) for one in digests} == {SIZE}
    text = b"faktura 117"
    changed = {
        digest(text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :])
        for at, bit in itertools.product(range(len(text)), range(8))
    }
    assert len(changed) == 8 * len(text) and digest(text) not in changed


def test_a_number_is_the_same_before_and_after_the_store() -> None:
    """A column of reals returns 5.0 for 5."""
    assert digest(5) == digest(5.0)


@pytest.mark.parametrize("stored", [None, b"", b"x" * SIZE, memoryview(digest("b"))])
def test_anything_but_the_digest_does_not_match(stored: bytes | None) -> None:
    assert not matches(stored, ("a",))
    assert matches(memoryview(digest("a")), ("a",))
    assert not matches(digest("a"), (object(),))  # type: ignore[arg-type]
