"""
A worker process: the CPU of a job with its callback beside the stock clients, callbacks a second, its memory, and the
time in which a cold worker starts and finishes many long calls.

The stock clients are one stream of Anthropic's SDK and one `requests.post` for each job, as many at once as the worker
runs calls. Both talk to the same upstream and receiver; the rounds alternate.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from claude_relay import wiring
from claude_relay.config import load
from claude_relay.core.intake import parse
from claude_relay.services import Accepted, JobRef, Relay

from . import upstream
from .dispatch import _daemon, _until
from .rows import Row
from .servers import cpu_seconds

_AT_ONCE = 16


class Rig:
    """A worker process on a store of its own, which this process fills."""

    def __init__(self, folder: Path, url: str, **variables: str) -> None:
        self.folder, self.url = folder, url
        folder.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "ANTHROPIC_API_KEY": "sk-ant-none",
            "ANTHROPIC_BASE_URL": url,
            "RELAY_STORE": f"sqlite:///{folder / 'relay.db'}",
            "RELAY_ALLOW_PRIVATE_URLS": "127.0.0.1",
            "RELAY_CONCURRENCY": str(_AT_ONCE),
            "RELAY_MAX_QUEUE": "1000000",
            "LOG_LEVEL": "error",
            **variables,
        }
        self._settings = load(self.env, dotenv=None, etc=None)

    @contextlib.contextmanager
    def relay(self) -> Iterator[Relay]:
        """The open relay, in this process."""
        with wiring.open_relay(self._settings, create=True) as relay:
            self._intake = wiring.intake_context(self._settings, relay)
            yield relay

    @contextlib.contextmanager
    def worker(self) -> Iterator[int]:
        """A worker that has loaded the SDK; gives its process id."""
        with _daemon("worker", self.env, self.folder) as process:
            yield process.pid

    def submit(self, relay: Relay, count: int) -> list[str]:
        """Submit jobs with a callback, in a few commits; returns their request ids."""
        body = {"prompt": "Hei", "webhookUrl": f"{self.url}/hook"}
        submission = parse(body, now=time.time(), context=self._intake)
        accepted = [
            job for start in range(0, count, 500) for job in relay.submit_many([submission] * min(500, count - start))
        ]

        return [each.job.request_id for each in accepted if isinstance(each, Accepted)]

    def seen(self, after: int = 0) -> tuple[int, float, float]:
        """Number of callbacks received, the time of the last, and that of the first after so many."""
        count, last, first = requests.get(f"{self.url}/seen/{after}", timeout=10).json()

        return count, last, first

    def calls(self) -> tuple[int, float]:
        """Number of calls that reached the upstream, and the time of the last."""
        count, last = requests.get(f"{self.url}/calls", timeout=10).json()

        return count, last

    def finish(self, relay: Relay, jobs: int) -> list[str]:
        """Submit jobs and wait for their callbacks; returns their request ids."""
        before = self.seen()[0]
        ids = self.submit(relay, jobs)
        self.await_callbacks(before + jobs)

        return ids

    def await_callbacks(self, count: int) -> None:
        """Wait for so many callbacks in all."""
        _until(lambda: self.seen()[0] >= count, within=600.0, every=0.1)


def rss(pid: int, field: str = "VmRSS") -> int:
    """Resident bytes of a process, now or (`VmHWM`) at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{field} is missing")


def run(folder: Path, *, rounds: int = 5, jobs: int = 300, callbacks: int = 1500) -> Iterator[dict[str, Any] | Row]:
    """One line per round, then the rows."""
    ours: list[float] = []
    stock: list[float] = []
    ids: list[str] = []
    with upstream.running("--per-second", "100") as url:
        rig = Rig(folder / "worker", url)
        with rig.relay() as relay:
            with rig.worker() as pid:
                rig.finish(relay, 4 * _AT_ONCE)  # the first calls import and connect, and open all slots
                base = rss(pid)
                with _stock_clients(url) as call_all:
                    call_all(_AT_ONCE)
                    for _ in range(rounds):
                        began = cpu_seconds(pid)
                        ids += rig.finish(relay, jobs)
                        ours.append((cpu_seconds(pid) - began) / jobs * 1000)
                        began = time.process_time()
                        call_all(jobs)
                        stock.append((time.process_time() - began) / jobs * 1000)
                        yield {"job_ms": round(ours[-1], 2), "stock_ms": round(stock[-1], 2)}
            rate = _callback_rate(rig, relay, ids[-callbacks:])

    for calls, started, ended in ((64, 2, 13), (300, 5, 18)):
        name = f"{calls} calls of 10 s on a cold worker"
        first, last = _long_calls(folder / f"long-{calls}", calls)
        yield Row(name=f"{name}: all at the upstream", value=first, unit="s", target=f"<= {started}")
        yield Row(name=f"{name}: all delivered", value=last, unit="s", target=f"<= {ended}")
    ratios = [mine / theirs for mine, theirs in zip(ours, stock, strict=True)]
    yield _row("CPU of a job with its callback / SDK stream + requests.post", ratios, target="<= 1.7")
    yield _row("CPU of a job with its callback", ours, unit="ms")
    yield _row("CPU of an SDK stream + requests.post", stock, unit="ms")
    yield Row(name="callbacks to one healthy receiver", value=rate, unit="/s", target=">= 300")
    yield Row(name="memory of a worker after its first calls", value=base / 1e6, unit="MB", target="<= 100")


def _long_calls(folder: Path, calls: int, seconds: float = 10.0) -> tuple[float, float]:
    """Seconds from the submission to an idle worker that made no call yet until the last call and the last callback."""
    with upstream.running("--silence", str(seconds)) as url:
        rig = Rig(folder, url, RELAY_CONCURRENCY=str(calls))
        with rig.relay() as relay, rig.worker():
            _until(relay.maintenance.workers)
            began = time.monotonic()
            rig.submit(relay, calls)
            _until(lambda: rig.calls()[0] >= calls, within=120.0, every=0.05)
            rig.await_callbacks(calls)

            return rig.calls()[1] - began, rig.seen()[1] - began


def _row(name: str, values: list[float], unit: str = "", target: str = "") -> Row:
    spread = min(values), max(values)

    return Row(name=name, value=statistics.median(values), unit=unit, target=target, spread=spread)


def _callback_rate(rig: Rig, relay: Relay, ids: list[str]) -> float:
    """Callbacks a second at the receiver: of the second half, as a worker loads the SDK during the first."""
    for request_id in ids:
        relay.redeliver(JobRef(owner="admin", request_id=request_id))
    half = rig.seen()[0] + len(ids) // 2
    with rig.worker():
        rig.await_callbacks(half + len(ids) - len(ids) // 2)
        count, ended, began = rig.seen(half)

    return (count - half - 1) / (ended - began)


@contextlib.contextmanager
def _stock_clients(url: str) -> Iterator[Any]:
    """A function that makes so many calls and POSTs with the stock clients."""
    import anthropic

    body = {"requestId": "r", "status": "completed", "response": "word " * 20, "model": upstream.MODEL}
    with anthropic.Anthropic(api_key="sk-ant-none", base_url=url) as client, ThreadPoolExecutor(_AT_ONCE) as pool:

        def call(_: int) -> None:
            messages: Any = [{"role": "user", "content": "Hei"}]
            with client.messages.stream(model=upstream.MODEL, max_tokens=1000, messages=messages) as stream:
                answer = stream.get_final_text()
            requests.post(f"{url}/stock", json={**body, "response": answer}, timeout=30).raise_for_status()

        yield lambda count: list(pool.map(call, range(count)))
