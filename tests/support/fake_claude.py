"""
Scripted stand-in for Anthropic's Messages API on a raw socket, which records its requests.

It shares no code with the product: responses are written byte by byte, so that they can also break off, reset, drip,
stall and be malformed. A script is a sequence of steps: bytes are sent as they are, other steps as documented.

    with FakeClaude() as fake:
        fake.then(*answer("Hei"))                       # the next request
        fake.when("slow", head(), Pause(5), *answer())  # every request whose body contains that word
        ...
        assert [seen.outcome for seen in fake.books] == ["done"]

As a program, for tests of whole processes: `python -m tests.support.fake_claude PORT BOOKS.jsonl` answers every prompt.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SPAN = 600.0  # maximum duration of a script: longer than any test waits


@dataclass(frozen=True)
class Pause:
    """Send nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Drip:
    """Send the same bytes repeatedly."""

    piece: bytes
    every: float
    times: int = 10_000


@dataclass(frozen=True)
class Hang:
    """Send nothing until the client disconnects."""


@dataclass(frozen=True)
class Reset:
    """Close with a TCP reset."""


@dataclass(frozen=True)
class Wait:
    """Wait for an event that a test sets."""

    event: threading.Event


Step = bytes | Pause | Drip | Hang | Reset | Wait


@dataclass
class Seen:
    """One recorded request."""

    number: int
    began_at: float
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    outcome: str = "open"  # done, left (the client hung up), reset
    ended_at: float | None = None
    waited: float = 0.0  # from the last byte sent to the end of a hang
    model: str | None = None  # the model and usage that it reported last
    usage: dict[str, int] = field(default_factory=dict)


@dataclass
class FakeClaude:
    """
    The server. Scripts given to `when` come first, then those of `then` in order, then `otherwise`.

    `GET /v1/models` is answered from `models`, `page` entries at a time (None: with a 500), and recorded separately in
    `looks`: it costs nothing, so it is not in `books`.
    """

    port: int = 0
    otherwise: Callable[[Seen], Sequence[Step]] = field(default=lambda seen: answer(model=seen.body.get("model", "m")))
    books_file: Path | None = None

    def __post_init__(self) -> None:
        self.books: list[Seen] = []
        self.file_books: list[Seen] = []
        self.files: dict[str, bytes] = {}
        self._file_refusals: deque[Sequence[Step]] = deque()
        self.looks: list[Seen] = []
        self.models: list[dict[str, Any]] | None = [listed(name) for name in LISTED] + [RETIRING, RETIRED]
        self.page = 1000
        self._queue: deque[Sequence[Step]] = deque()
        self._rules: list[tuple[str, Sequence[Step]]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> FakeClaude:
        self._spawn(self._listen)
        return self

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def __enter__(self) -> FakeClaude:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def then(self, *steps: Step) -> None:
        """Script the next request that no `when` matches."""
        self._queue.append(steps)

    def when(self, word: str, *steps: Step) -> None:
        """Script every request whose body contains `word`."""
        self._rules.append((word, steps))

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, client)

    def _spawn(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, name="fake-claude", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(SPAN)
            try:
                request = _read_request(client)
            except (OSError, ValueError):
                return
            seen, steps = self._enter(*request)
            try:
                seen.outcome = self._play(client, steps, seen)
            except OSError:
                seen.outcome = "left"
            seen.ended_at = time.time()
            self._write(seen)

    def _enter(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[Seen, Sequence[Step]]:
        if path.startswith("/v1/files"):
            return self._enter_file(method, path, headers, body)
        text = body.decode()
        if method == "GET" and path.startswith("/v1/models"):
            return self._list_models(method, path, headers)
        with self._lock:
            parsed = json.loads(text) if text else None
            seen = Seen(len(self.books) + 1, time.time(), method, path, headers, parsed)
            self.books.append(seen)
            self._write(seen)
            steps = next((steps for word, steps in self._rules if word in text), None)
            if steps is None:
                steps = self._queue.popleft() if self._queue else self.otherwise(seen)

        return seen, steps

    def _list_models(self, method: str, path: str, headers: dict[str, str]) -> tuple[Seen, Sequence[Step]]:
        with self._lock:
            seen = Seen(len(self.looks) + 1, time.time(), method, path, headers, None)
            self.looks.append(seen)
        if self.models is None:
            return seen, refusal("500 Oops", "api_error")
        query = parse_qs(urlsplit(path).query)
        wanted = {word for name in ("lifecycle", "lifecycle[]") for word in query.get(name, ())}
        rows = [entry for entry in self.models if entry["lifecycle"] in (wanted or {"active", "deprecated"})]
        ids = [row["id"] for row in rows]
        start = ids.index(query["after_id"][0]) + 1 if "after_id" in query else 0
        shown = rows[start : start + self.page]
        page = {"data": shown, "has_more": start + self.page < len(rows), "last_id": shown[-1]["id"] if shown else None}
        return seen, (head(kind="application/json"), chunk(json.dumps(page).encode()), END)

    def _enter_file(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[Seen, Sequence[Step]]:
        """Answer a files request; uploads are in `files` by id, requests in `file_books`."""
        with self._lock:
            seen = Seen(len(self.file_books) + 1, time.time(), method, path, headers, None)
            self.file_books.append(seen)
            file_id = path.removeprefix("/v1/files").strip("/").partition("?")[0]
            if self._file_refusals:
                return seen, self._file_refusals.popleft()
            if method == "POST":
                boundary = headers["content-type"].partition("boundary=")[2].strip('"').encode()
                parts = [part.partition(b"\r\n\r\n") for part in body.split(b"--" + boundary)[1:-1]]
                form = {head.partition(b'name="')[2].partition(b'"')[0].decode(): data[:-2] for head, _, data in parts}
                seen.body = {name: data.decode() for name, data in form.items() if name != "file"}
                file_id = f"file_fake_{len(self.file_books)}"
                self.files[file_id] = form["file"]
            if file_id not in self.files:
                return seen, refusal("404 Not Found", "not_found_error", text="no such file")
            size = len(self.files[file_id])
            info = {"id": file_id, "type": "file", "filename": "f", "mime_type": "application/pdf", "size_bytes": size}
            reply = json.dumps(info | {"created_at": "2026-11-24T00:00:00Z"}).encode()
            return seen, (head("200 OK", kind="application/json") + chunk(reply) + END,)

    def refuse_file(self, *steps: Step) -> None:
        """Script the next files request."""
        self._file_refusals.append(steps)

    def _play(self, client: socket.socket, steps: Sequence[Step], seen: Seen) -> str:
        for step in steps:
            if isinstance(step, bytes):
                client.sendall(step)
                _count(seen, step)
            elif isinstance(step, Reset):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return "reset"
            elif isinstance(step, Drip):
                for _ in range(step.times):
                    client.sendall(step.piece)
                    if self._left(client, step.every):
                        return "left"
            else:
                began = time.monotonic()
                left = self._wait(client, step)
                seen.waited = time.monotonic() - began
                if left:
                    return "left"

        return "done"

    def _wait(self, client: socket.socket, step: Pause | Hang | Wait) -> bool:
        until = time.monotonic() + (step.seconds if isinstance(step, Pause) else SPAN)
        while time.monotonic() < until and not self._stopping.is_set():
            if isinstance(step, Wait) and step.event.is_set():
                return False
            if self._left(client, min(0.02, max(until - time.monotonic(), 0))):
                return True

        return False

    def _left(self, client: socket.socket, within: float) -> bool:
        """Whether the client disconnects within that time."""
        client.settimeout(within or 0.001)
        try:
            return client.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            client.settimeout(SPAN)

    def _write(self, seen: Seen) -> None:
        if self.books_file is None:
            return
        with self.books_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(seen)) + "\n")
            file.flush()
            os.fsync(file.fileno())


#: Dollars per million tokens: input, output, cache read, cache write. Independent of the product's prices.
PRICES = {
    "claude-opus-5-5": ("4", "20", "0.2", "5"),
    "claude-sonnet-5-5": ("2", "10", "0.1", "2.5"),
    "claude-haiku-5-5": ("0.1", "0.5", "0.01", "0.125"),
}
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def bill(books: Iterable[Seen]) -> Decimal:
    """Cost of those calls in dollars, as on the upstream's invoice: all usage that it reported."""
    return sum((_dollars(seen) for seen in books if seen.usage), Decimal(0))


def _dollars(seen: Seen) -> Decimal:
    prices = PRICES[seen.model or ""]
    counts = [seen.usage.get(name, 0) for name in _COUNTS]

    return sum((Decimal(price) * count for price, count in zip(prices, counts, strict=True)), Decimal(0)) / 1_000_000


def _count(seen: Seen, sent: bytes) -> None:
    for line in sent.splitlines():
        if not line.startswith(b"data: {"):
            continue
        try:
            data = json.loads(line[6:])
        except ValueError:  # a script may cut it midway
            continue
        message = data.get("message") or {}
        seen.model = message.get("model", seen.model)
        seen.usage |= message.get("usage") or data.get("usage") or {}


def listed(name: str, **more: Any) -> dict[str, Any]:
    """An entry of the list of models, with an unknown field."""
    entry = {"type": "model", "id": name, "display_name": name.title(), "line": name.split("-")[1]}
    entry |= {"lifecycle": "active", "created_at": "1970-01-01T00:00:00Z", "deprecated_at": None, "retires_at": None}
    return entry | {"max_input_tokens": 1_000_000, "max_tokens": 128_000, "capabilities": {}, "of_tomorrow": 1} | more


#: The latest first, as upstream lists them.
LISTED = ("claude-fable-5-2", "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-opus-5")
RETIRING = listed(
    "claude-sonnet-4-5-20250929",
    lifecycle="deprecated",
    deprecated_at="2026-06-01T00:00:00Z",
    retires_at=f"{time.gmtime().tm_year + 1}-11-30T00:00:00Z",
    max_tokens=64_000,
)
RETIRED = listed("claude-opus-4-8", lifecycle="retired", retires_at="2026-10-01T00:00:00Z")


def head(status: str = "200 OK", headers: Iterable[tuple[str, str]] = (), kind: str = "text/event-stream") -> bytes:
    """Head of a response with a chunked body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Transfer-Encoding: chunked", "Connection: close"]
    if all(name.lower() != "request-id" for name, _ in headers):
        lines.append("request-id: req_fake")
    lines += [f"{name}: {value}" for name, value in headers]

    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def event(kind: str, **fields: Any) -> bytes:
    """One server-sent event in its own chunk."""
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return chunk(f"event: {kind}\ndata: {data}\n\n".encode())


def started(model: str = "claude-sonnet-5-5", message_id: str = "msg_fake", **usage: Any) -> bytes:
    """`message_start`."""
    counts = {"input_tokens": 10, "output_tokens": 1} | usage
    message = {"id": message_id, "type": "message", "role": "assistant", "model": model, "content": []}
    return event("message_start", message=message | {"stop_reason": None, "stop_sequence": None, "usage": counts})


def written(text: str, index: int = 0) -> tuple[bytes, ...]:
    """A text block, word by word."""
    pieces = [text[at : at + 8] for at in range(0, len(text), 8)]
    return (
        event("content_block_start", index=index, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece}) for piece in pieces),
        event("content_block_stop", index=index),
    )


def stopped(stop_reason: str | None = "end_turn", stop_details: Any = None, **usage: Any) -> tuple[bytes, ...]:
    """`message_delta` and `message_stop`, and the body's end."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None, "stop_details": stop_details}
    return (
        event("message_delta", delta=delta, usage={"output_tokens": 5} | usage),
        event("message_stop"),
        END,
    )


def answer(
    text: str = "Hello from the fake.", *, model: str = "claude-sonnet-5-5", stop_reason: str = "end_turn", **usage: Any
) -> tuple[bytes, ...]:
    """A complete answer."""
    return (head(), started(model), *written(text), *stopped(stop_reason, **usage))


def refusal(
    status: str, kind: str, code: str | None = None, *headers: tuple[str, str], text: str = "no"
) -> tuple[bytes]:
    """An error response."""
    error: dict[str, Any] = {"type": kind, "message": text}
    if code is not None:
        error["details"] = {"error_code": code}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_fake"}).encode()

    return (head(status, headers, "application/json") + chunk(body) + END,)


def _read_request(client: socket.socket) -> tuple[str, str, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(client)
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    parts, have, length = [body], len(body), int(headers.get("content-length", 0))
    while have < length:
        parts.append(_more(client))
        have += len(parts[-1])

    return method, path, headers, b"".join(parts)


def _more(client: socket.socket) -> bytes:
    data = client.recv(65536)
    if not data:
        raise ValueError("the client left before its request was out")
    return data


if __name__ == "__main__":
    with (
        FakeClaude(port=int(sys.argv[1]), books_file=Path(sys.argv[2])) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(server.url, flush=True)
        threading.Event().wait()
