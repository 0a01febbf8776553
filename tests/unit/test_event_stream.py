"""Server-sent events: the data of each, however the bytes are cut into chunks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from claude_relay.claude.event_stream import event_data

STREAMS = {
    "as Anthropic sends it": b'event: ping\ndata: {"a": 1}\n\nevent: x\ndata: {"b": 2}\n\n',
    "carriage returns": b"data: a\r\ndata: b\r\n\r\ndata: c\r\rdata: d\n\n",
    "comments and other fields": b": hello\nid: 7\nretry: 10\ndata: a\nother: b\n\n: alone\n\ndata:b\n\n",
    "several lines of data": b"data: a\ndata:\ndata:  b\n\n",
    "no data": b"event: x\n\ndata:\n\ndata\n\n",
    "blank lines between": b"\n\n\ndata: a\n\n\n\ndata: b\n\n\n",
    "an event that was cut": b"data: a\n\ndata: lost",
    "letters of several bytes": "data: æøå 🙂\n\n".encode(),
}


def _cut(stream: bytes, rng: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(stream):
        size = rng.choice((1, 1, 2, 3, 50))
        yield stream[at : at + size]
        at += size


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_the_data_are_those_of_the_sdk_however_the_bytes_are_cut(stream: bytes) -> None:
    """The SDK's own decoder is the oracle, also for line ends of both kinds that two chunks share."""
    from anthropic._streaming import SSEDecoder

    expected = [event.data.encode() for event in SSEDecoder().iter_bytes(iter([stream])) if event.data]
    rng = random.Random(17)

    assert list(event_data([stream])) == expected
    for _ in range(50):
        assert list(event_data(_cut(stream, rng))) == expected


def test_a_large_event_in_many_chunks_is_joined_once() -> None:
    """Time in proportion to its length: 30,000 chunks, which a join for each would make seconds of work."""
    chunks = [b"data: ", *[b"x" * 1_000] * 30_000, b"\n\n"]

    [data] = event_data(chunks)

    assert len(data) == 30_000_000
