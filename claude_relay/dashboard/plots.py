"""Plots over time as geometry: bars, lines and ticks, which a template draws as SVG. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from ..core.jobs.job import State
from ..core.lazy_dataclass import dataclass
from ..ports import FinishedJob
from ..services import History
from .rendering import age, integer, milliseconds, money

WIDTH, HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 4, 10, 22
_STEPS = (60, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_MOST_BUCKETS = 48


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The jobs that ended in one stretch of time."""

    start: float
    completed: int
    failed: int
    half: float | None  # half of them took at most that many seconds
    most: float | None  # 95 of 100
    cost_usd: float


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar, or a part of one."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through points; it has gaps where there is no value."""

    path: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot: its title, its marks, and the ticks of both axes as (position, label)."""

    title: str
    summary: str
    legend: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]


def buckets(history: History) -> tuple[list[Bucket], int]:
    """The history in equal stretches, oldest first, and their length in seconds."""
    span = max(60.0, history.until - history.since)
    step = next((each for each in _STEPS if span / each <= _MOST_BUCKETS), _STEPS[-1])
    first = math.floor(history.since / step) * step
    sorted_in: dict[int, list[FinishedJob]] = {}
    for job in history.jobs:
        sorted_in.setdefault(int((job.finished_at - first) // step), []).append(job)
    count = int((history.until - first) // step) + 1

    return [_bucket(first + number * step, sorted_in.get(number, [])) for number in range(count)], step


def plots(rows: Sequence[Bucket]) -> list[Plot]:
    """Throughput, latency and spend."""
    total, failed = sum(row.completed + row.failed for row in rows), sum(row.failed for row in rows)
    spent = sum(row.cost_usd for row in rows)
    slowest = max((row.most for row in rows if row.most is not None), default=None)

    return [
        _bars(
            "Jobs ended",
            f"{total:,} ended, {failed:,} of them failed",
            rows,
            (("ok", "completed", lambda row: row.completed), ("bad", "failed", lambda row: row.failed)),
            integer,
            short,
        ),
        _lines(
            "Time from start to end",
            "nothing ended" if slowest is None else f"nearly all within {age(slowest)}",
            rows,
            (("p50", "half of the jobs", lambda row: row.half), ("p95", "95 of 100", lambda row: row.most)),
        ),
        _bars(
            "Spend",
            f"{money(spent)} in all",
            rows,
            (("cost", "dollars", lambda row: row.cost_usd),),
            money,
            short_money,
        ),
    ]


def spend_plot(days: Sequence[tuple[str, float]]) -> Plot:
    """Spend by day."""
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(days))
    top = _ceiling(max((usd for _, usd in days), default=0.0))
    bars = [
        Bar(
            x=round(_LEFT + number * step + step * 0.1, 1),
            y=round(_height(usd, top), 1),
            width=round(step * 0.8, 1),
            height=round(HEIGHT - _BOTTOM - _height(usd, top), 1),
            kind="cost",
            title=f"{day}: {money(usd)}",
        )
        for number, (day, usd) in enumerate(days)
        if usd
    ]
    every = max(1, math.ceil(len(days) / 5))
    across = [
        (round(_LEFT + (number + 0.5) * step, 1), day[5:]) for number, (day, _) in enumerate(days) if not number % every
    ]
    total = sum(usd for _, usd in days)

    return Plot(
        title="Spend by day",
        summary=f"{money(total)} in {len(days)} days",
        legend=(),
        bars=bars,
        lines=(),
        across=across,
        up=_ticks(top, short_money),
    )


def _bucket(start: float, jobs: Sequence[FinishedJob]) -> Bucket:
    times = sorted(job.finished_at - job.started_at for job in jobs)

    return Bucket(
        start=start,
        completed=sum(job.state is State.COMPLETED for job in jobs),
        failed=sum(job.state is not State.COMPLETED for job in jobs),
        half=times[len(times) // 2] if times else None,
        most=times[math.ceil(len(times) * 0.95) - 1] if times else None,
        cost_usd=sum(job.cost_usd or 0.0 for job in jobs),
    )


_Series = tuple[str, str, Callable[[Bucket], float | None]]


def _bars(
    title: str,
    summary: str,
    rows: Sequence[Bucket],
    series: Sequence[_Series],
    label: Callable[[float], str],
    tick: Callable[[float], str],
) -> Plot:
    top = _ceiling(max((sum(read(row) or 0 for _, _, read in series) for row in rows), default=0.0))
    step = (WIDTH - _LEFT - _RIGHT) / len(rows)
    bars = []
    for number, row in enumerate(rows):
        base = 0.0
        for kind, name, read in series:
            if value := read(row):
                upper, lower = _height(base + value, top), _height(base, top)
                bars.append(
                    Bar(
                        x=round(_LEFT + number * step + step * 0.1, 1),
                        y=round(upper, 1),
                        width=round(step * 0.8, 1),
                        height=round(lower - upper, 1),
                        kind=kind,
                        title=f"{_clock(row.start)}: {label(value)} {name}",
                    )
                )
                base += value
    legend = [(kind, name) for kind, name, _ in series] if len(series) > 1 else []

    return Plot(
        title=title, summary=summary, legend=legend, bars=bars, lines=(), across=_across(rows), up=_ticks(top, tick)
    )


def _lines(title: str, summary: str, rows: Sequence[Bucket], series: Sequence[_Series]) -> Plot:
    top = _ceiling(max((read(row) or 0 for row in rows for _, _, read in series), default=0.0))
    step = (WIDTH - _LEFT - _RIGHT) / len(rows)
    lines = []
    for kind, _, read in series:
        path, drawing = [], False
        for number, row in enumerate(rows):
            value = read(row)
            if value is not None:
                x, y = _LEFT + (number + 0.5) * step, _height(value, top)
                # A stretch of a single point is a short dash.
                path.append(f"{'L' if drawing else 'M'}{x - (0 if drawing else 1.5):.1f} {y:.1f}L{x + 1.5:.1f} {y:.1f}")
            drawing = value is not None
        lines.append(Line(path="".join(path), kind=kind))

    return Plot(
        title=title,
        summary=summary,
        legend=[(kind, name) for kind, name, _ in series],
        bars=(),
        lines=lines,
        across=_across(rows),
        up=_ticks(top, short_age),
    )


def _across(rows: Sequence[Bucket]) -> list[tuple[float, str]]:
    """About four times of day."""
    step = (WIDTH - _LEFT - _RIGHT) / len(rows)
    every = max(1, math.ceil(len(rows) / 4))

    return [
        (round(_LEFT + number * step, 1), _clock(row.start))
        for number, row in enumerate(rows)
        if not number % every and number * step < WIDTH - _LEFT - 36
    ]


def short(value: float) -> str:
    """A number of the axis, at most five characters: `0.002`, `250`, `1.5k`, `20M`."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"

    return f"{value:.5f}".rstrip("0").rstrip(".") if value < 1 else f"{value:.3g}"


def short_age(seconds: float) -> str:
    """A duration of the axis: below a second in milliseconds, so that no two ticks are alike."""
    return milliseconds(seconds * 1000) if 0 < seconds < 1 else age(seconds, 1)


def short_money(value: float) -> str:
    """Dollars of the axis: `$0.002`, `$1.5k`."""
    if 0.01 <= value < 1000:
        return f"${value:.2f}"

    return f"${short(value)}" if value >= 0.001 or not value else f"{short(value * 100)} ¢"


def _ticks(top: float, label: Callable[[float], str]) -> list[tuple[float, str]]:
    return [(round(_height(top * part, top), 1), label(top * part)) for part in (0.0, 0.5, 1.0)]


def _height(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM)


def _ceiling(value: float) -> float:
    """The next of 1, 2, 4, 6, 10, 20, 40, …: half of it is a round number, too."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))

    return next(factor * power for factor in (1, 2, 4, 6, 10, 20) if factor * power >= value * 0.999)


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, tz=timezone.utc):%H:%M}"
