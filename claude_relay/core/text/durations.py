"""
Lengths of time as people write them: `90s`, `5m`, `2h`, `1d`, also `1h30m` and `0.5s`.

Settings, request fields and command-line options all read them here, so they agree.
"""

from __future__ import annotations

import re

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SUCH = "such as 90s, 5m, 2h or 1d"

# The digits are counted here, so nothing larger than the limit below ever becomes a number.
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([dhms])", re.ASCII)
_WHOLE = re.compile(rf"{_PART.pattern}(?: ?{_PART.pattern})*", re.ASCII)

LONGEST = 3_650 * 86_400.0
"""Ten years: added to any clock it still makes a date."""


def parse_duration(text: str) -> float:
    """
    The seconds that `text` names; ValueError with a sentence for a person otherwise.

    A bare number is refused, since one reader means seconds by it and the next minutes. Only 0 needs no unit.
    """
    plain = text.strip().lower()
    if plain == "0":
        return 0.0
    if len(plain) > 64 or not _WHOLE.fullmatch(plain):
        raise ValueError(f"{'needs its unit' if plain.isdecimal() else 'must be a number and its unit'}, {_SUCH}")

    parts = [(float(number), unit) for number, unit in _PART.findall(plain)]
    order = ["dhms".index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        raise ValueError("must name each unit once, the largest first, such as 1h30m")

    seconds = sum(number * _UNITS[unit] for number, unit in parts)
    if seconds > LONGEST:
        raise ValueError(f"is too long: the longest is {format_duration(LONGEST)}")

    return round(seconds, 6)


def format_duration(seconds: float) -> str:
    """
    The shortest text that `parse_duration` reads back as `seconds`, to the microsecond.
    """
    whole, micros = divmod(round(max(0.0, seconds) * 1_000_000), 1_000_000)
    text = ""
    for unit in "dhm":
        count, whole = divmod(whole, _UNITS[unit])
        text += f"{count}{unit}" if count else ""

    fraction = f".{micros:06d}".rstrip("0") if micros else ""
    return f"{text}{whole}{fraction}s" if whole or fraction or not text else text
