"""
What one request may cost: memory and time of the API for the largest and the worst bodies, and after many submits.

Memory is the resident set of the server's process: after 100,000 submits, and at its peak for one large body.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .load import body, post
from .rows import Row
from .servers import KEY, running

_MIB = 2**20
_SUBMITS = 100_000
#: A body just below RELAY_MAX_BODY.
_LARGE = 32 * _MIB - 1_024
_JSON = {"Content-Type": "application/json"}


def run(folder: Path, *, rounds: int = 5) -> Iterator[dict[str, Any] | Row]:
    """The rows; each hostile body is sent once per round."""
    command = [sys.executable, "-m", "benchmarks.servers", "durable", str(folder / "bounds")]
    with running(command, folder / "bounds") as (url, pid):
        for name, target, data in (
            ("32 MiB of ASCII: memory / its size", "<= 3.5", _prompt("x")),
            ("32 MiB of Norwegian: memory / its size", "<= 7", _prompt("på ")),
            ("32 MiB with an emoji: memory / its size", "<= 7", _prompt("😀 plain text of some length ")),
        ):
            before = _memory(pid, "VmRSS")
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM, the peak
            status, _ = _send(url, "/api/claude", data, _JSON)
            yield {"body": name, "status": status}
            yield Row(name=name, value=(_memory(pid, "VmHWM") - before) / len(data), target=target)
        for name, path, data, headers in _worst():
            status, seconds = min(_send(url, path, data, headers) for _ in range(rounds))
            yield {"body": name, "status": status}
            yield Row(name=f"{name}: answered", value=seconds, unit="s", target="<= 1")

    with running([*command[:-1], str(folder / "many")], folder / "many") as (url, pid):
        sent, started = 0, time.monotonic()
        while sent < _SUBMITS and time.monotonic() - started < 120:
            load = post(f"{url}/api/claude", key=KEY, body=body(1_024), connections=16, seconds=5, folder=folder)
            sent += load.requests
            yield {"submits": sent, "MiB": round(_memory(pid, "VmRSS") / _MIB, 1)}
        yield Row(name=f"memory after {sent:,} submits", value=_memory(pid, "VmRSS") / 1e6, unit="MB", target="<= 60")


def _prompt(text: str) -> bytes:
    room = _LARGE - 64

    return json.dumps({"prompt": text * (room // len(text.encode()))}, ensure_ascii=False).encode()


def _worst() -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """(name, path, body, headers) of small bodies that are much work."""
    bad = "\n".join(f'{{"prompt": "{number}", "nope": [}}' for number in range(1_000))
    yield "bulk of 1,000 lines that are no JSON", "/api/claude/bulk", bad.encode(), _NDJSON
    options = {"maxTokns": -1, "effort": "much"}
    wrong = [{"prompt": "x", f"prioritey{n % 900}": 1, "mode": "later", "options": options} for n in range(1_000)]
    lines = "\n".join(map(json.dumps, wrong))
    yield "bulk of 1,000 refused lines", "/api/claude/bulk", lines.encode(), _NDJSON
    fields = {f"field{number}": {"type": "string"} for number in range(30_000)}
    schema = {"type": "object", "properties": fields, "additionalProperties": False, "required": list(fields)}
    large = json.dumps({"prompt": "x", "options": {"outputSchema": schema}})
    yield "schema of 30,000 properties", "/api/claude", large.encode(), _JSON
    form = "&".join(f"field{number}=x" for number in range(100_000))
    yield "form of 100,000 fields", "/api/claude", form.encode(), {"Content-Type": "application/x-www-form-urlencoded"}


_NDJSON = {"Content-Type": "application/x-ndjson"}


def _send(url: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, float]:
    """The status of the answer, and the seconds until it was complete."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    started = time.monotonic()
    try:
        connection.request("POST", path, data, {**headers, "X-API-Key": KEY})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()

    return answer.status, time.monotonic() - started


def _memory(pid: int, name: str) -> int:
    """A figure of `/proc/PID/status` in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    value = next(line for line in lines if line.startswith(f"{name}:"))

    return int(value.split()[1]) * 1024
