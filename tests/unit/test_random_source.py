"""Random bytes from buffered blocks: each byte is used once."""

from __future__ import annotations

import os
import threading

import pytest

from claude_relay.services import random_source
from claude_relay.services.random_source import BufferedSystemRandom


def test_every_byte_is_returned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Across blocks, and for requests larger than a block."""
    counter = iter(range(2**32))
    monkeypatch.setattr(
        random_source.os, "urandom", lambda n: b"".join(next(counter).to_bytes(4, "big") for _ in range(n))
    )
    source = BufferedSystemRandom()
    taken = [source.randbytes(n) for n in (16, 4092, 8, 40_000, 12)]
    words = [part[at : at + 4] for part in taken for at in range(0, len(part), 4)]

    assert [len(part) for part in taken] == [16, 4092, 8, 40_000, 12]
    assert len(set(words)) == len(words)


def test_threads_share_no_bytes() -> None:
    source, taken = BufferedSystemRandom(), []
    threads = [
        threading.Thread(target=lambda: taken.extend([source.randbytes(10) for _ in range(2000)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(taken)) == 16_000


def test_a_forked_process_returns_other_bytes() -> None:
    source = BufferedSystemRandom()
    source.randbytes(10)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, source.randbytes(10))
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 10) != source.randbytes(10)


def test_many_requests_need_one_system_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(random_source.os, "urandom", lambda n: asked.append(n) or bytes(n))
    source = BufferedSystemRandom()
    for _ in range(400):
        source.randbytes(10)

    assert len(asked) == 1
