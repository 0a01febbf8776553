"""Sizes as strings: `4MiB`, `512KiB`, `10MB`, or a bare number of bytes."""

from __future__ import annotations

import re

_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SIZE = re.compile(r"([0-9]{1,16}) ?([kmg]i?b|b|)", re.ASCII)

MAX_SIZE = 2**50


def parse_size(text: str) -> int:
    """Parse a size to bytes; `ValueError` with the problem otherwise."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("write a whole number and its unit, such as 512KiB, 4MiB or 1GiB")

    size = int(match[1]) * _UNITS[match[2]]
    if size > MAX_SIZE:
        raise ValueError(f"it is too large: the maximum is {format_size(MAX_SIZE)}")

    return size


def format_size(size: int) -> str:
    """Format `size` in its largest exact unit; `parse_size` reads it back."""
    for unit in ("GiB", "MiB", "KiB"):
        count, rest = divmod(size, _UNITS[unit.lower()])
        if count and not rest:
            return f"{count}{unit}"

    return f"{size}B"
