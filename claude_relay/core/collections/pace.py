"""The time that a collection still needs, by its pace so far."""

from __future__ import annotations


def seconds_left(*, total: int, ended: int, elapsed: float, already: int = 0) -> float | None:
    """`already` rows had ended before the time that elapsed. None where there is no pace yet, and at the end."""
    if ended <= already or ended >= total:
        return None

    return max(0.0, elapsed) / (ended - already) * (total - ended)
