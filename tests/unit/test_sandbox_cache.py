"""The sandbox's prompt cache: what is read and written, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.sandbox import request
from claude_relay.sandbox.cache import Cache, Cached
from claude_relay.sandbox.problem import ApiError

LONG = "word " * 2000


def body(system: Any, *turns: Any, **fields: Any) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns or ("Hei",))]
    return {"model": "claude-sonnet-5-5", "max_tokens": 9, "system": system, "messages": messages, **fields}


def marked(text: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", **more}}]


def use(cache: Cache, asked: dict[str, Any], now: float = 0.0) -> Cached:
    return cache.use(request.parse(asked, version="2026-10-21").beginnings, now)


def test_written_once_then_read_until_it_is_forgotten() -> None:
    cache = Cache()
    first, second = use(cache, body(marked(LONG))), use(cache, body(marked(LONG), "Other"), now=299)
    assert (first.read, second.written) == (0, 0)
    assert first.written == second.read > 1024
    assert use(cache, body(marked(LONG)), now=299 + 299).read  # each use renews it
    assert use(cache, body(marked(LONG)), now=299 + 299 + 301).read == 0


def test_an_hour_where_an_hour_is_asked_for() -> None:
    cache = Cache()
    assert use(cache, body(marked(LONG, ttl="1h"))).life == "1h"
    assert use(cache, body(marked(LONG, ttl="1h")), now=3000).read


def test_without_a_mark_or_too_short_nothing_is_kept() -> None:
    cache = Cache()
    for asked in (body(LONG), body(marked("short"))):
        assert use(cache, asked) == use(cache, asked) == Cached()


def test_a_conversation_reads_what_the_turn_before_wrote() -> None:
    cache = Cache()
    first = use(cache, body(LONG, marked("A")))
    second = use(cache, body(LONG, "A", "B", marked("C")))

    assert second.read == first.written and 0 < second.written < 20


def test_five_marks_are_one_too_many() -> None:
    with pytest.raises(ApiError, match="maximum of 4"):
        request.parse(body(marked("a") * 5), version="2026-10-21")
