"""
Long strings of a JSON body, decoded apart from the rest.

The parser needs the whole body as text beside its strings: one emoji makes four bytes of each character, twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]

#: Bytes of a string that is decoded apart, and of its pieces.
LONG = 2**20
_PIECE = 2**16
#: Strings that are looked at: a long one usually comes early.
_STRINGS = 1_000
#: A quote that ends a string, or may: one that a single backslash precedes does not, of several the number counts.
_QUOTE = re.compile(rb'"(?<!\\")|"(?<=\\\\")')
#: Of those that may as many are looked at: that costs more than all the rest.
_UNSURE = 100_000
#: Where a string may be cut: after bytes that no escape reaches, or before one that is no half of a character.
_CUT = re.compile(rb"[^\\]{12}|[^\\]\\[^u]")


def take_long_texts(data: bytes) -> tuple[str, Sequence[str]] | None:
    """
    The body as text with NaN, which no body may have, for each long string; and these in their order.

    None where there is none, or where the body is not as it should be: the parser then says why.
    """
    places = list(_places(data))
    if not places:
        return None
    rest, after = bytearray(), 0
    for start, end in places:
        rest += data[after : start - 1] + b"NaN"
        after = end + 1
    rest += data[after:]
    if rest.count(b"NaN") > len(places):
        return None
    try:
        return rest.decode(), [_decode(data, start, end) for start, end in places]
    except (UnicodeError, json.JSONDecodeError):
        return None


def _places(data: bytes) -> Iterator[tuple[int, int]]:
    """Where long strings begin and end, without their quotes."""
    at, left = 0, _UNSURE
    for _ in range(_STRINGS):
        if (start := data.find(b'"', at) + 1) == 0 or len(data) - start < LONG:
            return
        quote = _QUOTE.search(data, start)
        while quote is not None and _is_escaped(data, quote.start()):
            left -= 1
            quote = _QUOTE.search(data, quote.end()) if left else None
        if quote is None:
            return
        at = quote.end()
        if quote.start() - start >= LONG:
            yield start, quote.start()


def _is_escaped(data: bytes, at: int) -> bool:
    """Whether an odd number of backslashes precedes that place."""
    first = at
    while data[first - 1] == 0x5C:
        first -= 1

    return (at - first) % 2 == 1


def _decode(data: bytes, start: int, end: int) -> str:
    """The text of a string, whose control characters and escapes are checked as the parser does."""
    plain = bytearray()
    while start < end:
        cut = _CUT.search(data, start + _PIECE, end)
        stop = end if cut is None else cut.start() + 1 if cut[0][1:2] == b"\\" else cut.end()
        while stop < end and data[stop] & 0xC0 == 0x80:  # not in the middle of a character
            stop += 1
        plain += scanstring(data[start:stop].decode() + '"', 0, True)[0].encode()
        start = stop

    return plain.decode()
