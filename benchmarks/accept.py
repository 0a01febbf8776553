"""
The accept path: POST /api/claude to a 202 that is on disk, against the same app without a store.

Interleaved A B A B, 1 KiB bodies, 16 connections. Both share the machine with the load generator, so only the ratio
counts. After each run the rows are counted: every 202 is there.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claude_relay import wiring

from .load import Load, post
from .servers import KEY, settings

_BODY = json.dumps({"prompt": "x" * 970, "options": {"maxTokens": 100}, "group": "bench"})


def run(folder: Path, *, rounds: int = 7, seconds: int = 2) -> Iterator[dict[str, Any]]:
    """One line per round, then the medians and their ratio."""
    results: dict[str, list[Load]] = {"durable": [], "empty": []}
    with contextlib.ExitStack() as stack:
        urls = {kind: stack.enter_context(_server(kind, folder / kind)) for kind in results}
        for url in urls.values():  # the first requests warm caches and grow the thread pool
            post(f"{url}/api/claude", key=KEY, body=_BODY, connections=16, seconds=1, folder=folder)
        rows_at_start = _rows(folder / "durable")
        for number in range(rounds):
            for kind, url in urls.items():
                load = post(f"{url}/api/claude", key=KEY, body=_BODY, connections=16, seconds=seconds, folder=folder)
                if load.failed:
                    raise RuntimeError(f"a run with {load.failed} answers other than 202 is void")
                results[kind].append(load)
            yield {"round": number + 1, **{kind: round(loads[-1].per_second) for kind, loads in results.items()}}
        stored = _rows(folder / "durable") - rows_at_start

    accepted = sum(load.requests for load in results["durable"])
    if stored < accepted:
        raise RuntimeError(f"{accepted} were answered 202 and {stored} are on disk")
    rates = {kind: statistics.median(load.per_second for load in loads) for kind, loads in results.items()}
    pairs = [a.per_second / b.per_second for a, b in zip(results["durable"], results["empty"], strict=True)]
    yield {
        "accepted": accepted,
        "kept": stored,
        "durable_per_second": round(rates["durable"]),
        "empty_per_second": round(rates["empty"]),
        "durable_p99_ms": round(statistics.median(load.p99 for load in results["durable"]), 1),
        "ratio": round(statistics.median(pairs), 2),
        "ratio_range": [round(min(pairs), 2), round(max(pairs), 2)],
        "goal": ">= 0.7",
    }


@contextlib.contextmanager
def _server(kind: str, folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "benchmarks.servers", kind, str(folder)]
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield _url(process, log)
    finally:
        process.terminate()
        process.wait(20)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return match.group(0)
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def _rows(folder: Path) -> int:
    with wiring.open_relay(settings(folder)) as relay:
        return sum(relay.queries.overview()["jobs"].values())
