"""The load generator: wrk (Debian's `wrk`), one thread, closed loop, keep-alive, on loopback, for seconds."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "{key}"
wrk.body = '{body}'
local number = 0
local head, tail = wrk.body:match("^(.*)@ID@(.*)$")
if head then
  request = function()
    number = number + 1
    return wrk.format(nil, nil, nil, head .. "{run}-" .. number .. tail)
  end
end
done = function(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""
_RUNS = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """One run: requests per second, latencies in milliseconds, and the number of answers other than 202."""

    per_second: float
    p50: float
    p99: float
    failed: int
    requests: int


def body(size: int, *, own_ids: bool = False) -> str:
    """A submit of about that many bytes. `own_ids`: each request has an id of its own."""
    fields = {"prompt": "x" * (size - 54), "options": {"maxTokens": 100}, "group": "bench"}

    return json.dumps(fields | ({"requestId": "run-@ID@"} if own_ids else {}))


def post(url: str, *, key: str, body: str, connections: int, seconds: int, folder: Path) -> Load:
    """POST that body from all connections for that many seconds."""
    script = folder / "load.lua"
    script.write_text(_SCRIPT.replace("{key}", key).replace("{body}", body).replace("{run}", str(next(_RUNS))))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    match = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if match is None:
        raise RuntimeError(f"wrk printed no usable result:\n{output}")
    requests, micros, p50, p99, failed = map(int, match.groups())
    # wrk counts answers of 400 and above itself; a 2xx that is not a 202 cannot come from this path.
    return Load(requests / (micros / 1e6), p50 / 1000, p99 / 1000, failed, requests)
