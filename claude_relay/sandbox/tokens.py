"""
Estimated tokens, the same for the count, the start and the end of an answer.

This is no tokeniser: a token is 3.6 bytes of UTF-8, a page of a PDF (its text and its picture) 2,000 tokens, and an
image its pixels divided by 750, which is Anthropic's own rule of thumb. The figures are consistent, not exact.
"""

from __future__ import annotations

import math
import re
import struct

BYTES_A_TOKEN = 3.6
A_PAGE = 2000
A_MESSAGE = 4
AN_UNKNOWN_IMAGE = 1500
MOST_FOR_AN_IMAGE = 4800

_PAGE = re.compile(rb"/Type\s*/Page(?![s\w])")
_COUNT = re.compile(rb"/Count\s+(\d{1,4})\b")


def of_text(text: str) -> int:
    """Tokens of a text; at least one, since an empty answer is billed too."""
    return max(1, math.ceil(len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN))


def cut(text: str, tokens: int) -> str:
    """The longest prefix of `text` that has at most `tokens` tokens."""
    data = text.encode("utf-8", "replace")[: math.floor(tokens * BYTES_A_TOKEN)]
    return data.decode("utf-8", "ignore")


def pages(pdf: bytes) -> int:
    """
    Pages of a PDF, at least one.

    Counts page objects where they are readable; where they are compressed, takes the page tree's count, or the size.
    """
    count = len(_PAGE.findall(pdf)) or max((int(n) for n in _COUNT.findall(pdf)), default=0)
    return count or max(1, len(pdf) // 60_000)


def of_image(data: bytes) -> int:
    """Tokens of an image, from its width and height where they are readable."""
    size = _size(data)
    if size is None:
        return AN_UNKNOWN_IMAGE
    return min(MOST_FOR_AN_IMAGE, max(1, math.ceil(size[0] * size[1] / 750)))


def _size(data: bytes) -> tuple[int, int] | None:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data[:4] == b"GIF8" and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return width, height
    return _jpeg_size(data) if data[:2] == b"\xff\xd8" else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header, which carries the size."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
