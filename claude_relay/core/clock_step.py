"""
Two clocks: the calendar's, which people and daemons set, and a steady one that only runs. What it means when they part.

Times in rows are calendar times. What is relative (a backoff, a default deadline, the pace of a group) is moved along
when the calendar is set; what a caller asked for as a point in time stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: The calendar may be corrected by this much at once, in seconds, before it counts as set.
MIN_STEP = 5.0
#: How far clocks go apart by themselves, or are brought together without a step, in seconds a second.
MAX_DRIFT = 0.001
#: Between two starts of the machine nobody saw the time pass: a gap longer than this is not taken on trust.
LONG_GAP = 86_400.0
_MOST_LEAPS = 50


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """Both clocks at one moment. `boot` names the start of the machine since which the steady one runs."""

    wall: float
    steady: float
    boot: str


@dataclass(frozen=True, kw_only=True)
class ClockReference:
    """
    What was last agreed: by how much the calendar is ahead of the steady clock, and what both said then.

    `leaps`: when the calendar went ahead without time having been seen to pass, as (at, seconds).
    """

    boot: str
    offset: float
    wall: float
    steady: float
    leaps: tuple[tuple[float, float], ...] = ()


def detect_step(noted: ClockReference | None, now: Clocks) -> tuple[float, ClockReference]:
    """By how many seconds the calendar was set since `noted` (0: it was not), and what to note now."""
    offset = now.wall - now.steady
    if noted is None:
        return 0.0, ClockReference(boot=now.boot, offset=offset, wall=now.wall, steady=now.steady)

    if noted.boot == now.boot:
        moved = offset - noted.offset
        if abs(moved) <= MIN_STEP:
            # A clock that is kept right drifts; one that was stopped, or set a little, is not agreed to: it adds up.
            drifts = abs(moved) <= MAX_DRIFT * (now.steady - noted.steady) + 0.01
            offset, moved = offset if drifts else noted.offset, 0.0
        leap = max(moved, 0.0)
    else:
        # The machine was off. Time does not run backwards: a calendar that did was set (or has forgotten the year).
        gap = now.wall - noted.wall
        moved = gap if gap < -MIN_STEP else 0.0
        leap = gap if gap > LONG_GAP else 0.0
    leaps = noted.leaps
    if leap:
        leaps = (*leaps, (now.wall, leap))[-_MOST_LEAPS:]
    elif moved:
        leaps = _less(leaps, -moved)

    return moved, ClockReference(boot=now.boot, offset=offset, wall=now.wall, steady=now.steady, leaps=leaps)


def was_set(noted: ClockReference, now: Clocks) -> bool:
    """Whether the calendar has been set since, in the same run of the machine."""
    return abs(now.wall - now.steady - noted.offset) > MIN_STEP


def retention_cutoff(noted: ClockReference | None, *, now: float, keep: float) -> float:
    """
    Before which time something must have ended to have been kept for `keep` seconds.

    A leap of the calendar is no time in which anything was kept: it may have been a mistake.
    """
    since = now - keep
    for at, seconds in reversed(noted.leaps if noted else ()):
        if at <= since:
            break
        since -= seconds

    return since


def as_memo(noted: ClockReference) -> dict[str, Any]:
    """For the store."""
    return asdict(noted)


def from_memo(memo: Any) -> ClockReference | None:
    """Back from the store."""
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


def _less(leaps: tuple[tuple[float, float], ...], back: float) -> tuple[tuple[float, float], ...]:
    """A calendar that is set back takes its latest leaps back first; what is left of them was earlier by as much."""
    left, rest = back, list(leaps)
    while rest and left > 0:
        at, seconds = rest.pop()
        if seconds > left + MIN_STEP:
            rest.append((at, seconds - left))
        left -= seconds

    return tuple((at - back, seconds) for at, seconds in rest)
