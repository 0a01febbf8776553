"""Sortable ids from a time and random bytes, and the patterns of callers' names."""

from __future__ import annotations

import re

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]  # two characters, ten bits at a time

#: A requestId; it begins with a letter or digit, so that it never looks like an option or a path.
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

#: A group name.
GROUP = re.compile(r"[A-Za-z0-9._-]{1,64}")


def ulid(now: float, entropy: bytes) -> str:
    """
    A 26-character id that sorts by its time (ULID, https://github.com/ulid/spec).

    `now` is in seconds since 1970, `entropy` ten random bytes. Ids of one millisecond sort at random.
    """
    return format_ulid(ulid_number(now, entropy))


def ulid_number(now: float, entropy: bytes) -> int:
    """The 128 bits of a ULID: 48 of milliseconds, 80 of randomness."""
    return (int(now * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(entropy[:10], "big")


def format_ulid(number: int) -> str:
    """Format 128 bits as a ULID."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def ulid_bytes(text: str) -> bytes:
    """The sixteen bytes of a ULID."""
    number = 0
    for char in text:
        number = number << 5 | _CROCKFORD.index(char)

    return number.to_bytes(16, "big")


def from_ulid(data: bytes) -> str:
    """The ULID of sixteen bytes."""
    return format_ulid(int.from_bytes(data, "big"))


def uuid7(now: float, entropy: bytes) -> str:
    """
    A UUID that sorts by its time (RFC 9562, version 7), as a string.

    `now` in seconds since 1970, ten random bytes.

    It makes the index of requestIds grow at its end. Random UUIDs would each touch a page of their own, and every page
    that a commit touches is written completely (*measured*: half of the bytes written by a full group).
    """
    time, rest = int(now * 1000) & (1 << 48) - 1, entropy.hex()

    return f"{time >> 16:08x}-{time & 0xFFFF:04x}-7{rest[:3]}-{'89ab'[entropy[1] & 3]}{rest[4:7]}-{rest[7:19]}"


def earliest_ulid(at: float) -> str:
    """The smallest ULID of that time, for comparison with `since`."""
    return ulid(max(at, 0.0), bytes(10))
