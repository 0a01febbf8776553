"""The cost of a long history: submit, claim and status with 100,000 finished jobs against 1,000, measured in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from claude_relay.core.jobs.failure import Completion
from claude_relay.core.jobs.submission import Submission
from claude_relay.core.policy import Policy
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore

from .rows import Row

_SIZES = {"1k": 1_000, "100k": 100_000}
_DONE = Completion(text="answer " * 40, model="claude-sonnet-5-5", stop_reason="end_turn", usage={"output_tokens": 40})


class _QuietNotifier:
    def notify(self, job_ids: Any = ()) -> None: ...

    def close(self) -> None: ...


def run(folder: Path, *, rounds: int = 7, times: int = 200) -> Iterator[dict[str, Any] | Row]:
    """One line per operation: the medians of both sizes in microseconds, and their ratio."""
    relays = {}
    for name, size in _SIZES.items():
        relays[name] = Relay(SqliteStore(folder / f"{name}.db"), _QuietNotifier(), Policy(max_queue=10**9))
        _finish(relays[name], size)
    try:
        samples: dict[str, dict[str, list[float]]] = {}
        for _ in range(rounds):
            for name, relay in relays.items():
                for operation, micros in _measure(relay, times).items():
                    samples.setdefault(operation, {}).setdefault(name, []).append(micros)
        for operation, sizes in samples.items():
            medians = {name: statistics.median(micros) for name, micros in sizes.items()}
            ratio = statistics.median(a / b for a, b in zip(sizes["100k"], sizes["1k"], strict=True))
            yield {"operation": operation, **{f"{name}_us": round(micros) for name, micros in medians.items()}}
            yield Row(name=f"{operation}: 100,000 finished jobs / 1,000", value=ratio, target="<= 1.3")
    finally:
        for relay in relays.values():
            relay.close()


def _submission(number: int) -> Submission:
    return Submission(
        request_id=None,
        body_hash="-",
        request={"prompt": "x" * 500, "options": {}},
        model="claude-sonnet-5-5",
        prompt_length=500,
        group=f"g{number % 10}",
    )


def _finish(relay: Relay, count: int) -> None:
    finished = 0
    while finished < count:
        size = min(1000, count - finished)
        relay.submit_many([_submission(number) for number in range(size)])
        while claimed := relay.execution.claim("builder", limit=size):
            relay.execution.complete_many([(job, _DONE) for job in claimed])
        finished += size


def _measure(relay: Relay, times: int) -> dict[str, float]:
    """Microseconds per operation, one at a time: without the savings of group commit."""
    accepted: list[Any] = []
    claimed: list[Any] = []

    def submit() -> None:
        accepted.append(relay.submit(_submission(len(accepted))))

    def claim() -> None:
        claimed.extend(relay.execution.claim("bench", limit=1))

    numbers = iter(range(times))

    def status() -> None:
        relay.queries.status(JobRef(request_id=accepted[next(numbers)].job.request_id))

    medians = {name: _median(work, times) for name, work in (("submit", submit), ("claim", claim), ("status", status))}
    relay.execution.complete_many([(job, _DONE) for job in claimed])

    return medians


def _median(work: Callable[[], None], times: int) -> float:
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        samples.append((time.perf_counter() - began) * 1e6)

    return statistics.median(samples)
