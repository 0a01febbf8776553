"""
Detection of wall-clock steps by comparison with a monotonic clock.

Times in rows are wall-clock times. Relative ones (a backoff, a default deadline, the rate of a group) are shifted when
the clock is set; a time that the caller gave as a timestamp stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .lazy_dataclass import dataclass

#: Corrections of the wall clock up to this many seconds do not count as a step.
MIN_STEP = 5.0
#: Maximum drift or slewing of the clocks, in seconds per second.
MAX_DRIFT = 0.001
#: A longer gap between two boots counts as a leap, since the time in between was not observed.
LONG_GAP = 86_400.0
_MAX_LEAPS = 50


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """Both clocks at one time. `boot` identifies the boot since which the steady (monotonic) one runs."""

    wall: float
    steady: float
    boot: str


@dataclass(frozen=True, kw_only=True)
class ClockReference:
    """
    The last accepted relation of the clocks: the offset of the wall clock, and both readings at that time.

    `leaps` are forward steps of the wall clock, which no observed time accounts for, as (at, seconds).
    """

    boot: str
    offset: float
    wall: float
    steady: float
    leaps: tuple[tuple[float, float], ...] = ()


def detect_step(reference: ClockReference | None, now: Clocks) -> tuple[float, ClockReference]:
    """The seconds by which the wall clock was set since `reference` (0: it was not), and the new reference."""
    offset = now.wall - now.steady
    if reference is None:
        return 0.0, ClockReference(boot=now.boot, offset=offset, wall=now.wall, steady=now.steady)

    if reference.boot == now.boot:
        moved = offset - reference.offset
        if abs(moved) <= MIN_STEP:
            # Drift is accepted. Small steps and stops are not, so that they add up.
            drifts = abs(moved) <= MAX_DRIFT * (now.steady - reference.steady) + 0.01
            offset, moved = offset if drifts else reference.offset, 0.0
        leap = max(moved, 0.0)
    else:
        # The machine was off. A clock that went backwards was set (or has lost the date).
        gap = now.wall - reference.wall
        moved = gap if gap < -MIN_STEP else 0.0
        leap = gap if gap > LONG_GAP else 0.0
    leaps = reference.leaps
    if leap:
        leaps = (*leaps, (now.wall, leap))[-_MAX_LEAPS:]
    elif moved:
        leaps = _take_back(leaps, -moved)

    return moved, ClockReference(boot=now.boot, offset=offset, wall=now.wall, steady=now.steady, leaps=leaps)


def was_set(reference: ClockReference, now: Clocks) -> bool:
    """Whether the wall clock has been set since `reference`, within the same boot."""
    return abs(now.wall - now.steady - reference.offset) > MIN_STEP


def retention_cutoff(reference: ClockReference | None, *, now: float, keep: float) -> float:
    """
    The time before which something must have ended to have been kept for `keep` seconds.

    Leaps of the wall clock do not count as elapsed time, since they may have been a mistake.
    """
    since = now - keep
    for at, seconds in reversed(reference.leaps if reference else ()):
        if at <= since:
            break
        since -= seconds

    return since


def as_memo(reference: ClockReference) -> dict[str, Any]:
    """The reference as a JSON object for the store."""
    return asdict(reference)


def from_memo(memo: Any) -> ClockReference | None:
    """The reference from the store's JSON object."""
    if memo is None:
        return None
    leaps: Sequence[Sequence[float]] = memo.get("leaps", ())

    return ClockReference(
        boot=memo["boot"],
        offset=memo["offset"],
        wall=memo["wall"],
        steady=memo.get("steady", memo["wall"] - memo["offset"]),
        leaps=tuple((at, by) for at, by in leaps),
    )


def _take_back(leaps: tuple[tuple[float, float], ...], back: float) -> tuple[tuple[float, float], ...]:
    """Cancel the latest leaps first when the clock is set back; the others move back by the same amount."""
    left, remaining = back, list(leaps)
    while remaining and left > 0:
        at, seconds = remaining.pop()
        if seconds > left + MIN_STEP:
            remaining.append((at, seconds - left))
        left -= seconds

    return tuple((at - back, seconds) for at, seconds in remaining)
