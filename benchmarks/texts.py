"""
The time from a text event of the upstream until subscribers have it: on the worker's machine, and on another one.

The daemons are processes. Those of "another machine" share the PostgreSQL server with the worker, and no folder.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import requests

from claude_relay.events.messages import decode
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.postgres import Cluster
from tests.support.rig import Rig

from .rows import Row

_HERE, _ELSEWHERE = "<= 300", "<= 1000"
#: Longest wait for a piece, in seconds.
_PATIENCE = 60.0


def run(folder: Path, *, rounds: int = 5) -> Iterator[dict[str, Any] | Row]:
    """One line for each subscriber, then the rows: the slowest of all pieces."""
    with Cluster() as cluster:
        waits = measure(folder, cluster.start().database(), pieces=10 * rounds)
    for name, seconds in waits.items():
        ordered = sorted(seconds)
        yield {"subscriber": name, "p50_ms": round(ordered[len(ordered) // 2] * 1000), "pieces": len(ordered)}
    for name, seconds in waits.items():
        values = [value * 1000 for value in seconds]
        target = _ELSEWHERE if "another" in name else _HERE
        yield Row(
            name=f"slowest {name}", value=max(values), unit="ms", target=target, spread=(min(values), max(values))
        )


def measure(folder: Path, store: str, *, pieces: int) -> dict[str, list[float]]:
    """Seconds from each piece of a text until each subscriber had it."""
    rng = random.Random(1)
    signals = [threading.Event() for _ in range(pieces)]
    script = [part for number, each in enumerate(signals) for part in (Wait(each), *written(f"{number:04} "))]
    upstream = FakeClaude().start()
    upstream.then(head(), started(), *script, *stopped())
    with ExitStack() as stack:
        stack.callback(upstream.stop)
        here, there = (
            stack.enter_context(_rig(folder / name, store, upstream.url)) for name in ("machine-1", "machine-2")
        )
        here.start()
        there.start_api()
        here.submit({"prompt": "Hei", "requestId": "text"})
        names = {
            "text of a job, on the worker's machine": (here, "/api/jobs/text/events"),
            "text of a job, on another machine": (there, "/api/jobs/text/events"),
            "text in the list of all jobs, on the worker's machine": (here, "/api/events"),
            "text in the list of all jobs, on another machine": (there, "/api/events"),
        }
        readers = {name: _Reader(rig, path) for name, (rig, path) in names.items()}
        waits: dict[str, list[float]] = {name: [] for name in names}
        for number, signal in enumerate(signals):
            time.sleep(rng.uniform(0.1, 0.9) if number else 0.0)
            began = time.monotonic()
            signal.set()
            for name, reader in readers.items():
                seconds = reader.arrival(f"{number:04} ") - began
                if number:  # the first one also waits for the call to begin
                    waits[name].append(seconds)

    return waits


def _rig(folder: Path, store: str, upstream: str) -> Rig:
    folder.mkdir(parents=True)

    return Rig(folder, upstream=upstream, RELAY_STORE=store, STATE_DIRECTORY=str(folder / "store"))


class _Reader:
    """Follows a stream in a thread, and notes when each piece of text arrived."""

    def __init__(self, rig: Rig, path: str) -> None:
        self._response = rig.http.get(f"{rig.url}{path}", stream=True, timeout=_PATIENCE)
        self._response.raise_for_status()
        self._text, self._arrived = "", threading.Condition()
        self._times: list[tuple[int, float]] = []  # length of the text so far, and when it had it
        threading.Thread(target=self._read, daemon=True).start()

    def arrival(self, piece: str) -> float:
        """When the stream had that piece, by the monotonic clock."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: piece in self._text, _PATIENCE):
                raise RuntimeError(f"the piece {piece!r} did not arrive")
            end = self._text.index(piece) + len(piece)

            return next(at for length, at in self._times if length >= end)

    def _read(self) -> None:
        with suppress(requests.RequestException):  # the daemons end first
            for message in decode(self._response.iter_lines(chunk_size=1, decode_unicode=True)):
                if message.name == "text":
                    with self._arrived:
                        self._text += message.data["text"]
                        self._times.append((len(self._text), time.monotonic()))
                        self._arrived.notify_all()
