"""
Upstream and receiver of the worker's benchmarks, a process of its own: `python -m benchmarks.upstream OPTIONS`.

Both keep their connections. `POST /v1/messages` answers with a stream, any other POST with 204, and `GET /seen/N` with
the number of those so far, the time of the last, and the time of the first after N of them. `GET /calls` gives the
number of calls so far and the time of the last. Times are of the monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL = "claude-sonnet-5-5"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}


@contextlib.contextmanager
def running(*options: str) -> Iterator[str]:
    """Start the process; gives its URL."""
    command = [sys.executable, "-m", "benchmarks.upstream", *options]
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


def _answer(writer: asyncio.StreamWriter, value: list[float]) -> None:
    body = json.dumps(value).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


class _Server:
    def __init__(self, options: argparse.Namespace) -> None:
        usage = {"input_tokens": 10, "output_tokens": 1}
        self._options = options
        self._start = _HEAD + _event("message_start", message={**_MESSAGE, "usage": usage})
        self._start += _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        text = {"type": "text_delta", "text": options.text * (options.size // len(options.text))}
        self._piece = _event("content_block_delta", index=0, delta=text)
        self._end = _event("content_block_stop", index=0)
        usage = {"output_tokens": options.events}
        self._end += _event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
        self._end += _event("message_stop") + b"0\r\n\r\n"
        self._times: list[float] = []
        self._calls: list[float] = []

    async def serve(self) -> None:
        tls = None
        if self._options.cert:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self._options.cert)
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=2000, ssl=tls)
        scheme = "https" if tls else "http"
        print(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                await reader.readexactly(length)
                if head.startswith(b"POST /v1/messages"):
                    self._calls.append(time.monotonic())
                    await self._stream(writer)
                elif head.startswith(b"GET /seen/"):
                    times = [0.0, *self._times][-1], next(iter(self._times[int(head.split()[1][6:]) :]), 0.0)
                    _answer(writer, [len(self._times), *times])
                elif head.startswith(b"GET /calls"):
                    _answer(writer, [len(self._calls), [0.0, *self._calls][-1]])
                else:
                    if head.startswith(b"POST "):  # the worker also asks for the models
                        self._times.append(time.monotonic())
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
                if b"connection: close" in lines:
                    break
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        options = self._options
        writer.write(self._start)
        await asyncio.sleep(options.silence)
        for number in range(options.events):
            if options.per_second and number:
                await asyncio.sleep(1 / options.per_second)
            writer.write(self._piece)
            await writer.drain()
        writer.write(self._end)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upstream", description=__doc__)
    parser.add_argument("--events", type=int, default=20, help="text events of an answer")
    parser.add_argument("--size", type=int, default=5, help="characters of an event")
    parser.add_argument("--text", default="word ", help="what an event repeats")
    parser.add_argument("--per-second", type=float, default=0.0, help="events a second; 0: as fast as they are read")
    parser.add_argument("--silence", type=float, default=0.0, help="seconds before the first text event")
    parser.add_argument("--cert", type=Path, help="a key and certificate: over TLS")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_Server(parser.parse_args()).serve())

    return 0


if __name__ == "__main__":
    sys.exit(main())
