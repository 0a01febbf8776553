"""Names for things: sortable ids from a time and some random bytes."""

from __future__ import annotations

import re

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

#: What a caller may use as a requestId; the first a letter or digit, so that it never looks like an option or a path.
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

#: What a group may be called.
GROUP = re.compile(r"[A-Za-z0-9._-]{1,64}")


def ulid(now: float, entropy: bytes) -> str:
    """
    A 26-letter id that sorts by its time (ULID, https://github.com/ulid/spec).

    `now` is in seconds since 1970, `entropy` ten random bytes. Ids of one millisecond sort at random.
    """
    number = (int(now * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(entropy[:10], "big")

    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def earliest_ulid(at: float) -> str:
    """The smallest id that a thing of that time can have: what `since` compares with."""
    return ulid(max(at, 0.0), bytes(10))
