"""
The CPU of one streamed event in a worker: many calls at once, each event sent as a packet of its own.

The upstream is a process of its own: the CPU of this one is that of the client alone.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claude_relay.claude.messages import AnthropicMessages
from claude_relay.config import load_prices
from claude_relay.core.jobs.failure import Completion
from claude_relay.core.jobs.job import Job, State
from claude_relay.ports import CallRequest

from . import upstream
from .rows import Row


def run(
    _: Path, *, rounds: int = 3, calls: int = 200, per_second: int = 20, seconds: int = 10
) -> Iterator[dict[str, Any] | Row]:
    """One line per round, then the rows: CPU of an event, and the time taken as a multiple of the ideal one."""
    samples: list[tuple[float, float]] = []
    with upstream.running("--per-second", str(per_second), "--events", str(per_second * seconds)) as url:
        messages = AnthropicMessages(api_key="sk-ant-none", prices=load_prices(None), base_url=url)
        messages.open()
        with contextlib.closing(messages):
            _calls(messages, 1)
            for _ in range(rounds):
                cpu, began = time.process_time(), time.monotonic()
                events = _calls(messages, calls)
                micros = (time.process_time() - cpu) / events * 1e6
                ideal = (time.monotonic() - began) / seconds
                samples.append((micros, ideal))
                yield {"streams": calls, "us_per_event": round(micros, 1), "of_ideal_time": round(ideal, 2)}
    for place, (name, unit, target) in enumerate(
        (("CPU of an event", "µs", "<= 60"), ("time / ideal time", "", "<= 1.2"))
    ):
        values = [sample[place] for sample in samples]
        title = f"{calls} streams of {per_second} events a second: {name}"
        spread = min(values), max(values)
        yield Row(name=title, value=statistics.median(values), unit=unit, target=target, spread=spread)


def _calls(messages: AnthropicMessages, count: int) -> int:
    """Make that many calls at once; returns the number of their text events."""
    lengths: list[int] = []

    def call() -> None:
        job = Job(
            id="j", owner="admin", request_id="r", body_hash="", state=State.RUNNING, version=1, created_at=0.0,
            updated_at=0.0, run_started_at=0.0, due_at=0.0, model=upstream.MODEL,
        )  # fmt: skip
        request = CallRequest(
            job=job, request={"prompt": "Hei", "options": {"model": upstream.MODEL, "maxTokens": 1000}}
        )
        done = messages.call(request, stop=lambda: None, sending=lambda: None, progress=lambda partial: None)
        if not isinstance(done, Completion):
            raise TypeError(f"the call failed: {done}")
        lengths.append(len(done.text) // 5)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(lengths) < count:
        raise RuntimeError("a call failed: this run is void")

    return sum(lengths)
