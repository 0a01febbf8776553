"""
The accept path: POST /api/claude to a 202 that is on disk, side by side with its peers.

Interleaved rounds, 16 connections. All share the machine with the load generator, so only ratios count. After the run
the rows are counted: every 202 is there.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_relay import wiring

from . import peers
from .load import Load, body, post
from .rows import Row
from .servers import KEY, cpu_seconds, running, settings

#: What is sent, by its name in a round.
_BODIES = {"1k": body(1_024), "own": body(1_024, own_ids=True), "64k": body(65_536)}
#: The servers and what is sent to each; `durable` is the relay as it is, `postgres` that with the peer's database.
_RUNS = {
    "bare": ("1k",),
    "empty": ("1k",),
    "durable": ("1k", "own", "64k"),
    "pair": ("own",),
    "express": ("own", "64k"),
    "bullmq": ("own",),
    "procrastinate": ("own",),
    "postgres": ("1k", "own"),
}
#: Ratios of rates: name, this, by that, target.
_RATIOS = (
    ("app without a store / bare Falcon + waitress", "empty 1k", "bare 1k", ">= 0.7"),
    ("durable, own ids / bare Falcon + waitress", "durable own", "bare 1k", ">= 0.5"),
    ("durable, own ids / Express + BullMQ, AOF always", "durable own", "bullmq own", ">= 0.85"),
    ("durable, own ids / FastAPI + Procrastinate", "durable own", "procrastinate own", ">= 2.5"),
    ("durable, own ids / Express in memory", "durable own", "express own", ""),
    ("durable, own ids / ids by the relay", "durable own", "durable 1k", ">= 0.9"),
    ("PostgreSQL, own ids / FastAPI + Procrastinate", "postgres own", "procrastinate own", ">= 1.2"),
    ("PostgreSQL, own ids / ids by the relay", "postgres own", "postgres 1k", ">= 0.85"),
    ("64 KiB: durable / Express in memory", "durable 64k", "express 64k", ">= 0.6"),
    ("two API processes on one socket / one", "pair own", "durable own", ""),
)


@dataclass(frozen=True)
class _Sample:
    load: Load
    cpu_us: float


def run(folder: Path, *, rounds: int = 5, seconds: int = 2) -> Iterator[dict[str, Any] | Row]:
    """One line per round, then the rows."""
    samples: dict[str, list[_Sample]] = {}
    with contextlib.ExitStack() as stack:
        servers: dict[str, tuple[str, int]] = {}
        database = stack.enter_context(peers.postgres())
        for name in _RUNS:
            try:
                servers[name] = stack.enter_context(_server(name, folder / name, database))
            except peers.MissingPeerError as exc:
                yield {"left out": name, "reason": str(exc)}
        for name, server in servers.items():  # the first requests warm caches and grow the thread pool
            _measure(server, _BODIES[_RUNS[name][0]], 1, folder)
        before = _rows(folder / "durable")
        for number in range(rounds):
            for name, server in servers.items():
                for kind in _RUNS[name]:
                    sample = _measure(server, _BODIES[kind], seconds, folder)
                    samples.setdefault(f"{name} {kind}", []).append(sample)
            yield {"round": number + 1, **{name: round(each[-1].load.per_second) for name, each in samples.items()}}
        stored = _rows(folder / "durable") - before

    accepted = sum(sample.load.requests for name in samples if name.startswith("durable") for sample in samples[name])
    if stored < accepted:
        raise RuntimeError(f"{accepted} were answered 202 and {stored} are on disk")
    yield {"accepted": accepted, "kept": stored}
    yield from _ratio_rows(samples)
    yield _row("durable, own ids: p99", [sample.load.p99 for sample in samples["durable own"]], "ms", "<= 15")
    for name, each in samples.items():
        yield _row(f"{name}: accepted", [sample.load.per_second for sample in each], "/s")
        if not name.startswith("pair"):  # of the two, that of one was measured
            yield _row(f"{name}: CPU of the server's process", [sample.cpu_us for sample in each], "µs a request")


def _ratio_rows(samples: dict[str, list[_Sample]]) -> Iterator[Row]:
    for name, this, that, target in _RATIOS:
        if this in samples and that in samples:
            pairs = zip(samples[this], samples[that], strict=True)
            yield _row(name, [a.load.per_second / b.load.per_second for a, b in pairs], target=target)


def _row(name: str, values: list[float], unit: str = "", target: str = "") -> Row:
    spread = min(values), max(values)

    return Row(name=name, value=statistics.median(values), unit=unit, target=target, spread=spread)


@contextlib.contextmanager
def _server(name: str, folder: Path, database: Callable[[], str]) -> Iterator[tuple[str, int]]:
    with contextlib.ExitStack() as stack:
        if name in peers.NAMES:
            command = stack.enter_context(peers.command(name, folder / "service", database))
        else:
            command = [sys.executable, "-m", "benchmarks.servers", name, str(folder)]
            if name == "postgres":
                command.append(database())
        yield stack.enter_context(running(command, folder))


def _measure(server: tuple[str, int], content: str, seconds: int, folder: Path) -> _Sample:
    url, pid = server
    before = cpu_seconds(pid)
    load = post(f"{url}/api/claude", key=KEY, body=content, connections=16, seconds=seconds, folder=folder)
    if load.failed:
        raise RuntimeError(f"{url}: a run with {load.failed} answers other than 202 is void")

    return _Sample(load, (cpu_seconds(pid) - before) / load.requests * 1e6)


def _rows(folder: Path) -> int:
    with wiring.open_relay(settings(folder)) as relay:
        return sum(relay.queries.overview()["jobs"].values())
