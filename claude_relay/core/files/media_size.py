"""Image sizes and page counts from a file's bytes, precise enough for an estimate."""

from __future__ import annotations

import re
import struct

_PAGE = re.compile(rb"/Type\s*/Page(?![s\w])")
#: Segments before the frame header of a JPEG: cameras write a dozen, and a large profile takes some hundred.
_SEGMENTS = 10_000
_COUNT = re.compile(rb"/Count\s+(\d{1,5})\b")


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels from the start of a PNG, GIF, JPEG or WebP file; None if unknown."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
    elif data[:4] == b"GIF8" and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    else:
        return _jpeg_size(data) if data[:2] == b"\xff\xd8" else None

    return (width, height) if width and height else None


def count_pages(pdf: bytes) -> int | None:
    """The number of pages of a PDF; None if its objects are compressed and cannot be counted without unpacking."""
    counts = [int(number) for number in _COUNT.findall(pdf)]

    return len(_PAGE.findall(pdf)) or max(counts, default=0) or None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header, which contains the size; a file made of millions has none."""
    at = 2
    for _ in range(_SEGMENTS):
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return (width, height) if width and height else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")

    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF

    return None
