"""
Durations as strings: `90s`, `5m`, `2h`, `1d`, also `1h30m` and `0.5s`.

Settings, request fields and command-line options all use this parser.
"""

from __future__ import annotations

import re

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SUCH = "such as 90s, 5m, 2h or 1d"

# The number of digits is limited, so nothing much larger than the limit below is ever converted.
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([dhms])", re.ASCII)
_DURATION = re.compile(rf"{_PART.pattern}(?: ?{_PART.pattern})*", re.ASCII)

MAX_DURATION = 3_650 * 86_400.0
"""Ten years: added to any clock, the result is still a valid date."""


def parse_duration(text: str) -> float:
    """
    Parse a duration to seconds; `ValueError` with the problem otherwise.

    A bare number is refused, since some people mean seconds by it and others minutes. Only 0 needs no unit.
    """
    plain = text.strip().lower()
    if plain == "0":
        return 0.0
    if len(plain) > 64 or not _DURATION.fullmatch(plain):
        raise ValueError(f"{'needs its unit' if plain.isdecimal() else 'must be a number and its unit'}, {_SUCH}")

    parts = [(float(number), unit) for number, unit in _PART.findall(plain)]
    order = ["dhms".index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        raise ValueError("must have each unit once, the largest first, such as 1h30m")

    seconds = sum(number * _UNITS[unit] for number, unit in parts)
    if seconds > MAX_DURATION:
        raise ValueError(f"is too long: the maximum is {format_duration(MAX_DURATION)}")

    return round(seconds, 6)


def format_duration(seconds: float) -> str:
    """Format `seconds` as the shortest string that `parse_duration` reads back, to the microsecond."""
    rest, micros = divmod(round(max(0.0, seconds) * 1_000_000), 1_000_000)
    text = ""
    for unit in "dhm":
        count, rest = divmod(rest, _UNITS[unit])
        text += f"{count}{unit}" if count else ""

    fraction = f".{micros:06d}".rstrip("0") if micros else ""
    return f"{text}{rest}{fraction}s" if rest or fraction or not text else text
