"""Digests of stored content."""

from __future__ import annotations

import hashlib
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


@pytest.mark.parametrize("text", ["x" * 70_000, "å" * 70_000, "\U0001f600" * 70_000, "\ud83d" * 65_537])
def test_a_long_text_has_the_digest_of_the_definition(text: str) -> None:
    """Texts are read in pieces, which changes no digest that is stored already."""
    data = text.encode("utf-8", "surrogatepass")

    assert digest(text) == hashlib.blake2b(f"text {len(data)} ".encode() + data, digest_size=SIZE).digest()


@pytest.mark.parametrize("long", ["", "å" * 70_000])
def test_a_zero_byte_has_the_digest_of_the_sign_that_a_server_stores_for_it(long: str) -> None:
    """A row is undamaged on both engines; the UTF-8 of a text has the text's digest."""
    assert digest(f"a\0b{long}") == digest(f"a\ufffdb{long}") != digest(f"ab{long}")
    assert digest(memoryview(f"aå{long}".encode())) == digest(f"aå{long}")


def test_a_number_is_the_same_before_and_after_the_store() -> None:
    """A column of reals returns 5.0 for 5."""
    assert digest(5) == digest(5.0)


@pytest.mark.parametrize("stored", [None, b"", b"x" * SIZE, memoryview(digest("b"))])
def test_anything_but_the_digest_does_not_match(stored: bytes | None) -> None:
    assert not matches(stored, ("a",))
    assert matches(memoryview(digest("a")), ("a",))
    assert not matches(digest("a"), (object(),))  # type: ignore[arg-type]
