"""
The time from the 202 to the request reaching the upstream, on an idle relay of real processes, and its idle CPU use.

The upstream is the sandbox in this process, whose call log has the time of each request. Both use the machine's clock.
On the way are two commits, the claim and the mark that the call is sent; the target leaves 2 ms for all the rest.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from claude_relay.sandbox import Sandbox

from .machine import sync_seconds
from .rows import Row
from .servers import cpu_seconds as _cpu

_KEY = "benchmark-key"


def run(folder: Path, *, rounds: int = 7, per_round: int = 15, seconds: float = 10.0) -> Iterator[dict[str, Any] | Row]:
    """The rows: milliseconds from the 202 to the upstream, and the share of a core that idle daemons use."""
    folder = folder / "dispatch"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PORT": "0",
            "API_SECRET_KEY": _KEY,
            "ANTHROPIC_API_KEY": "sk-ant-none",
            "ANTHROPIC_BASE_URL": sandbox.url,
            "RELAY_STORE": f"sqlite:///{folder / 'relay.db'}",
            "RELAY_RATE_LIMIT": "off",
            "RELAY_RATE_LIMIT_SUBMIT": "off",
        }
        api = stack.enter_context(_daemon("serve", env, folder))
        url = _until(lambda: re.search(r"http://127\.0\.0\.1:\d+", (folder / "serve.log").read_text())).group(0)
        worker = stack.enter_context(_daemon("worker", env, folder))
        session = requests.Session()
        session.headers["X-API-Key"] = _KEY
        _until(lambda: session.get(f"{url}/health/ready", timeout=5).status_code == 200)
        for _ in range(5):  # the first call imports and connects
            _measure(session, url, sandbox)

        waits = [_measure(session, url, sandbox) for _ in range(rounds * per_round)]
        start = _cpu(api.pid), _cpu(worker.pid), time.monotonic()
        time.sleep(seconds)
        end = _cpu(api.pid), _cpu(worker.pid), time.monotonic()

    elapsed = end[2] - start[2]
    ordered = sorted(waits)
    p50, p99 = statistics.median(waits), ordered[int(len(ordered) * 0.99)]
    idle = (end[0] - start[0] + end[1] - start[1]) / elapsed * 100
    rest = p50 - 2 * sync_seconds(folder)
    yield Row(name="from the 202 to the request upstream: p50", value=p50 * 1000, unit="ms")
    yield Row(name="the same without two fsyncs", value=rest * 1000, unit="ms", target="<= 2")
    yield Row(name="from the 202 to the request upstream: p99 / p50", value=p99 / p50, target="<= 5")
    yield Row(name="idle API and worker", value=idle, unit="% of a core", target="<= 0.5")


def _measure(session: requests.Session, url: str, sandbox: Sandbox) -> float:
    """Seconds between the 202 and the arrival of the call upstream."""
    time.sleep(random.uniform(0.03, 0.13))
    previous_calls = len(sandbox.books.calls())
    answer = session.post(f"{url}/api/claude", json={"prompt": "Hei"}, timeout=10)
    accepted = time.time()
    answer.raise_for_status()
    call = _until(lambda: sandbox.books.calls()[previous_calls:])[0]
    _until(lambda: session.get(f"{url}/api/status/{answer.json()['requestId']}").json()["status"] == "completed")

    return max(0.0, call["time"] - accepted)


@contextlib.contextmanager
def _daemon(verb: str, env: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{verb}.log").open("wb") as out:
        command = [sys.executable, "-m", "claude_relay", verb]
        process = subprocess.Popen(command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _until(condition: Callable[[], Any], *, within: float = 60.0, every: float = 0.005) -> Any:
    deadline = time.monotonic() + within
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError("the relay was not ready in time")
        time.sleep(every)

    return answer
