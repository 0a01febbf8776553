"""Names for things: what they promise to whoever sorts or parses them."""

from __future__ import annotations

import os
import uuid

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.text.ids import earliest_ulid, from_ulid, ulid, ulid_bytes, ulid_number, uuid7

MOMENTS = st.integers(0, 2**41).map(lambda millis: millis / 1000)


@given(MOMENTS, st.binary(min_size=10, max_size=10))
def test_a_generated_request_id_is_a_uuid7(now: float, entropy: bytes) -> None:
    """As RFC 9562 draws it: 48 bits of milliseconds first, then version, variant and randomness."""
    read = uuid.UUID(text := uuid7(now, entropy))

    assert str(read) == text
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == int(now * 1000)


@given(st.floats(-1e12, 1e12), st.binary(min_size=10, max_size=10))
def test_a_clock_far_from_the_present_makes_no_other_form(now: float, entropy: bytes) -> None:
    """Before 1970 too, where a machine without a battery begins."""
    assert str(uuid.UUID(text := uuid7(now, entropy))) == text


@given(MOMENTS, MOMENTS)
def test_request_ids_sort_by_their_time(one: float, other: float) -> None:
    early, late = sorted((one, other))
    if int(early * 1000) < int(late * 1000):
        assert uuid7(early, os.urandom(10)) < uuid7(late, os.urandom(10))


def test_a_request_id_cannot_be_guessed() -> None:
    """What is not time is random: as many bits of it as the version leaves."""
    assert len({uuid7(1.0, os.urandom(10)) for _ in range(1000)}) == 1000


@given(st.floats(-1e12, 1e12), st.binary(min_size=10, max_size=12))
def test_an_id_has_128_bits_at_any_time(now: float, entropy: bytes) -> None:
    """26 characters, and sixteen bytes in the store; more random bytes than ten are not used."""
    number = ulid_number(now, entropy)

    assert number >> 80 == int(now * 1000) % 2**48 and number % 2**80 == int.from_bytes(entropy[:10], "big")
    assert from_ulid(ulid_bytes(ulid(now, entropy))) == ulid(now, entropy) and len(ulid(now, entropy)) == 26
    assert ulid_bytes(ulid(now, entropy)) == number.to_bytes(16, "big")


def test_the_earliest_id_of_a_time_comes_before_all_others_of_it() -> None:
    """Before 1970 there are none."""
    assert earliest_ulid(7.5) == ulid(7.5, bytes(10)) <= ulid(7.5, bytes(9) + b"\x01")
    assert earliest_ulid(-5.0) == earliest_ulid(0.0) == 26 * "0"
