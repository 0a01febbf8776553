"""
The prompt cache: prefixes of requests that were sent before.

A breakpoint (`cache_control`) reads the longest cached prefix that ends at it or up to twenty blocks before it, as
upstream does, and writes its own, which lives for five minutes or an hour from its last use. Prefixes of less than
1,024 tokens are not cached.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_relay.sandbox import blocks, tokens
from claude_relay.sandbox.problem import invalid

LEAST_TOKENS = 1024
MOST_BREAKPOINTS = 4
LOOKBACK = 20
_LIFETIMES = {"5m": 300.0, "1h": 3600.0}
_MOST_ENTRIES = 10_000


@dataclass(frozen=True)
class Prefix:
    """
    A request up to the end of a block.

    Its hash, its tokens, and the lifetime of its breakpoint, if any.
    """

    digest: str
    tokens: int
    life: str | None


@dataclass(frozen=True, kw_only=True)
class CacheUsage:
    """Input tokens of a request that were read from the cache, and written to it."""

    read: int = 0
    written: int = 0
    life: str = "5m"


NO_CACHE_USAGE = CacheUsage()


class Cache:
    """Thread-safe and bounded: the least recently used entry is dropped first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expires_at: OrderedDict[str, float] = OrderedDict()

    def use(self, prefixes: Sequence[Prefix], now: float) -> CacheUsage:
        """Read the longest cached prefix, and write those with a breakpoint."""
        breakpoints = [index for index, prefix in enumerate(prefixes) if prefix.life and prefix.tokens >= LEAST_TOKENS]
        if not breakpoints:
            return NO_CACHE_USAGE
        with self._lock:
            candidates = {index for end in breakpoints for index in range(max(0, end - LOOKBACK), end + 1)}
            hits = [index for index in candidates if self._expires_at.get(prefixes[index].digest, 0.0) > now]
            read = max((prefixes[index].tokens for index in hits), default=0)
            for index in breakpoints:
                prefix = prefixes[index]
                self._expires_at[prefix.digest] = now + _LIFETIMES[prefix.life or "5m"]
                self._expires_at.move_to_end(prefix.digest)
            while len(self._expires_at) > _MOST_ENTRIES:
                self._expires_at.popitem(last=False)
        last = prefixes[breakpoints[-1]]

        return CacheUsage(read=read, written=max(0, last.tokens - read), life=last.life or "5m")


def prefixes(body: Mapping[str, Any], turns: Sequence[blocks.Turn]) -> tuple[Prefix, ...]:
    """Every prefix of a request, shortest first: tools, system, then the turns; none without a breakpoint."""
    parts = list(_parts(body, turns))
    count = sum(life is not None for _, _, life in parts)
    if count > MOST_BREAKPOINTS:
        raise invalid(
            "cache_control",
            f"a maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {count}.",
        )
    if not count:
        return ()

    digest, total, result = hashlib.sha256(str(body.get("model")).encode()), 0, []
    for text, weight, life in parts:
        digest.update(text.encode("utf-8", "surrogatepass"))
        total += weight
        result.append(Prefix(digest.hexdigest(), total, life))

    return tuple(result)


def _parts(body: Mapping[str, Any], turns: Sequence[blocks.Turn]) -> Iterator[tuple[str, int, str | None]]:
    """The text, tokens and breakpoint of each block."""
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        # Tools are measured together, so that a breakpoint on any of them counts as one on the last.
        lives = [life for index, tool in enumerate(tools) if (life := _life(tool, f"tools.{index}"))]
        yield _text(tools), tokens.of_text(_text(tools)), lives[-1] if lives else None
    system = body.get("system")
    for index, block in enumerate([{"text": system}] if isinstance(system, str) else system or ()):
        yield _text(block), tokens.of_text(block["text"]), _life(block, f"system.{index}")
    for number, (message, turn) in enumerate(zip(body["messages"], turns, strict=True)):
        content = message["content"]
        listed = [{"text": content}] if isinstance(content, str) else content
        for index, (block, weight) in enumerate(zip(listed, turn.weights, strict=True)):
            extra = tokens.A_MESSAGE if index == 0 else 0
            life = _life(block, f"messages.{number}.content.{index}")
            yield f"{turn.role}{_text(block)}", weight + extra, life


def _life(block: Any, where: str) -> str | None:
    control = block.get("cache_control") if isinstance(block, Mapping) else None
    if control is None:
        return None
    if (
        not isinstance(control, dict)
        or control.get("type") != "ephemeral"
        or control.get("ttl", "5m") not in _LIFETIMES
    ):
        raise invalid(f"{where}.cache_control", "Input should be {'type': 'ephemeral'}, with a ttl of 5m or 1h")
    return str(control.get("ttl", "5m"))


def _text(value: Any) -> str:
    """The cache key of a block: independent of its breakpoint, and equal for a string and its text block."""
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key not in ("cache_control", "type")}
    elif isinstance(value, list):
        return "".join(_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
