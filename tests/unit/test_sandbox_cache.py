"""The prompt cache of the sandbox: tokens read and written, and lifetimes."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.sandbox import request
from claude_relay.sandbox.cache import Cache, CacheUsage
from claude_relay.sandbox.problem import ApiError

LONG = "word " * 2000


def body(system: Any, *turns: Any, **fields: Any) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns or ("Hei",))]
    return {"model": "claude-sonnet-5-5", "max_tokens": 9, "system": system, "messages": messages, **fields}


def with_breakpoint(text: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", **more}}]


def use(cache: Cache, request_body: dict[str, Any], now: float = 0.0) -> CacheUsage:
    return cache.use(request.parse(request_body, version="2026-10-21").prefixes, now)


def test_a_prefix_is_written_once_and_read_until_it_expires() -> None:
    cache = Cache()
    first, second = use(cache, body(with_breakpoint(LONG))), use(cache, body(with_breakpoint(LONG), "Other"), now=299)
    assert (first.read, second.written) == (0, 0)
    assert first.written == second.read > 1024
    assert use(cache, body(with_breakpoint(LONG)), now=299 + 299).read  # each use renews it
    assert use(cache, body(with_breakpoint(LONG)), now=299 + 299 + 301).read == 0


def test_a_ttl_of_an_hour_lasts_an_hour() -> None:
    cache = Cache()
    assert use(cache, body(with_breakpoint(LONG, ttl="1h"))).life == "1h"
    assert use(cache, body(with_breakpoint(LONG, ttl="1h")), now=3000).read


def test_without_a_breakpoint_or_with_a_short_prefix_nothing_is_cached() -> None:
    cache = Cache()
    for request_body in (body(LONG), body(with_breakpoint("short"))):
        assert use(cache, request_body) == use(cache, request_body) == CacheUsage()


def test_a_conversation_reads_the_prefix_of_the_previous_turn() -> None:
    cache = Cache()
    first = use(cache, body(LONG, with_breakpoint("A")))
    second = use(cache, body(LONG, "A", "B", with_breakpoint("C")))

    assert second.read == first.written and 0 < second.written < 20


def test_five_breakpoints_are_one_too_many() -> None:
    with pytest.raises(ApiError, match="maximum of 4"):
        request.parse(body(with_breakpoint("a") * 5), version="2026-10-21")
