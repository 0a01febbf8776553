"""Server-sent events from the bytes of a response: their data alone, which is all that the Messages API needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def event_data(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """
    The data of each complete event that has some (WHATWG HTML §9.2.6).

    In place of the SDK's decoder, which makes an object and a list of lines for each event: a worker with 200 streams
    reads thousands of them a second. Each byte is looked at a fixed number of times, however long an event is.
    """
    parts: list[bytes] = []
    after_cr = newline = False
    for chunk in chunks:
        if after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # noqa: PLW2901 - the second half of a line end
        after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # noqa: PLW2901
        if not chunk:
            continue
        parts.append(chunk)
        if b"\n\n" in chunk or (newline and chunk.startswith(b"\n")):
            *blocks, rest = b"".join(parts).split(b"\n\n")
            parts = [rest] if rest else []
            for block in blocks:
                if data := _data(block):
                    yield data
        newline = chunk.endswith(b"\n")


def _data(block: bytes) -> bytes:
    """The data of one event, without its other fields and comments."""
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]

    return lines[0] if len(lines) == 1 else b"\n".join(lines)
