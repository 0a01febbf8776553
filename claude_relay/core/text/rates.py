"""Rates as strings: `100/15m` is a hundred in fifteen minutes."""

from __future__ import annotations

from ..lazy_dataclass import dataclass
from .durations import format_duration, parse_duration

_HOW = "write a number and a duration, such as 100/15m, or off"


@dataclass(frozen=True)
class Rate:
    """At most `count` times in any `seconds`."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count}/{format_duration(self.seconds)}"


def parse_rate(text: str) -> Rate | None:
    """Parse a rate, None for `off`; `ValueError` with the problem otherwise."""
    plain = text.strip().lower()
    if plain == "off":
        return None

    count, slash, period = plain.partition("/")
    count = count.strip()
    if not slash or not (count.isascii() and count.isdigit()) or len(count) > 9:
        raise ValueError(_HOW)
    # Many people write "10/m" for ten per minute.
    seconds = parse_duration(f"1{period.strip()}" if period.strip() in tuple("smhd") else period)
    if int(count) == 0 or seconds <= 0:
        raise ValueError(f"both numbers must be above zero: {_HOW}")

    return Rate(int(count), seconds)
