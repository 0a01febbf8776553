"""
The CPU of one streamed event in a worker: many calls at once, each event sent as a packet of its own.

The upstream is a process of its own, `python -m benchmarks.streams`: the CPU of this one is that of the client alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
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

from .rows import Row

_MODEL = "claude-sonnet-5-5"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def run(
    _: Path, *, rounds: int = 3, calls: int = 200, per_second: int = 20, seconds: int = 10
) -> Iterator[dict[str, Any] | Row]:
    """One line per round, then the rows: CPU of an event, and the time taken as a multiple of the ideal one."""
    samples: list[tuple[float, float]] = []
    with _upstream(per_second, per_second * seconds) as url:
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
            updated_at=0.0, run_started_at=0.0, due_at=0.0, model=_MODEL,
        )  # fmt: skip
        request = CallRequest(job=job, request={"prompt": "Hei", "options": {"model": _MODEL, "maxTokens": 1000}})
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


@contextlib.contextmanager
def _upstream(per_second: int, events: int) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.streams", str(per_second), str(events)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def _event(kind: str, **fields: Any) -> bytes:
    data = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    return b"%X\r\n%b\r\n" % (len(data), data)


async def _serve(per_second: int, events: int) -> None:
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": _MODEL, "content": [], "usage": usage}
    start = _event("message_start", message=message)
    start += _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    piece = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word "})
    end = _event("content_block_stop", index=0)
    end += _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": events})
    end += _event("message_stop") + b"0\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(_HEAD + start)
        for number in range(events):
            await asyncio.sleep(1 / per_second if number else 0)
            writer.write(piece)
        writer.write(end)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
